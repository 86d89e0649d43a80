"""`tongwen bench` on a tiny model."""

import json
from pathlib import Path

from tests.cli.program import Run


def test_serving_prints_one_object(tongwen: Run, tiny_chat: Path) -> None:
    sizes = ("--requests", "2", "--prompt-tokens", "20", "--completion-tokens", "3")
    done = tongwen("bench", "serve", "--model", str(tiny_chat), *sizes, "--repeats", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["work"] == "serve"
    assert found["tokens"] == 6
    assert found["spread"] == 0
    assert found["tokens_per_s"] > 0
    assert found["ttft_p50_ms"] > 0
    assert {"numerics", "read_gb_per_s", "peak_int8_gops", "requests"} <= set(found)


def test_serving_says_in_words_what_it_measured(tongwen: Run, tiny_chat: Path) -> None:
    sizes = ("--requests", "2", "--prompt-tokens", "20", "--completion-tokens", "3")
    done = tongwen("bench", "serve", "--model", str(tiny_chat), *sizes, "--repeats", "1")
    assert done.returncode == 0, done.stderr
    assert "2 requests of 20 + 3 tokens" in done.stdout


def test_sizes_of_a_load_are_refused_where_there_is_none(tongwen: Run, tiny_chat: Path) -> None:
    done = tongwen("bench", "decode", "--model", str(tiny_chat), "--prompt-tokens", "5")
    assert done.returncode == 2
    assert "--prompt-tokens is for `tongwen bench serve`" in done.stderr

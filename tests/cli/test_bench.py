"""`tongwen bench` on a tiny model."""

import json
from pathlib import Path

import pytest
from tests.cli.program import Run
from tests.cli.test_remote import server


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


def test_goals_and_a_rate_give_goodput(tongwen: Run, tiny_chat: Path) -> None:
    sizes = ("--requests", "3", "--prompt-tokens", "20", "--completion-tokens", "3")
    goals = ("--rate", "50", "--seed", "3", "--slo-ttft-ms", "60000", "--slo-tpot-ms", "60000")
    asked = ("bench", "serve", "--model", str(tiny_chat), *sizes, *goals, "--repeats", "1")
    done = tongwen(*asked, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["rate"], found["seed"]) == (50, 3)
    assert (found["goodput_share"], found["failed"]) == (1, 0)
    assert found["goodput_per_s"] > 0
    assert 0 < found["tpot_p50_ms"] <= found["tpot_p99_ms"]
    said = tongwen(*asked).stdout
    assert "50 a second" in said
    assert "goodput: 100.0% of the requests" in said


def test_an_endpoint_is_measured_with_the_same_load(
    tongwen: Run, environ: dict[str, str], tiny_chat: Path
) -> None:
    sizes = ("--requests", "2", "--prompt-tokens", "20", "--completion-tokens", "3")
    with server(environ, str(tiny_chat), "--served-model-name", "tiny") as url:
        there = ("--endpoint", url, *sizes, "--repeats", "1")
        done = tongwen("bench", "serve", *there, "--json")
        said = tongwen("bench", "serve", *there, "--model", "tiny").stdout
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["endpoint"], found["prompts"]) == ("tiny", url, "ids")
    assert (found["tokens"], found["spread"], found["failed"]) == (6, 0, 0)
    assert {"tokens_per_s", "numerics", "client_share", "ttft_p50_ms"} <= set(found)
    assert "2 requests of 20 + 3 tokens, all at once" in said
    assert "of a core" in said


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("decode", "--rate", "2"), 2, "--rate is for `tongwen bench serve`"),
        (("prefill", "--endpoint", "http://h"), 2, "--endpoint is for `tongwen bench serve`"),
        (("serve", "--rate", "0"), 2, "Invalid value for '--rate'"),
        (("serve", "--api-key-env", "K"), 2, "--api-key-env goes with --endpoint"),
        (("serve", "--endpoint", "http://h", "--weights", "int8"), 2, "--weights is for models"),
        (("serve", "--endpoint", "h"), 1, "`h` is no endpoint"),
    ],
)
def test_a_wrong_wish_is_refused(
    tongwen: Run, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = tongwen("bench", *arguments)
    assert done.returncode == status
    assert f"error: {said}" in done.stderr

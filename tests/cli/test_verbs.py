"""The verbs around the store: fetched, listed, shown, run, deleted."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.checkpoint.hub import Repository, StandIn, stand_in
from tests.cli.program import Run, on_terminal

from tongwen.checkpoint.offers import offers
from tongwen.cli.env import masked
from tongwen.cli.figures import ago, columns, duration, parameters, size

REPO = "Fox/Tiny-Instruct"


@pytest.fixture
def hub(environ: dict[str, str], tiny_chat: Path) -> Iterator[StandIn]:
    """A hub that has one tiny model; the program is told of it."""
    with stand_in() as server:
        files = {path.name: path.read_bytes() for path in tiny_chat.iterdir()}
        server.repositories[REPO] = Repository(files=files, licence="qwen-research")
        environ["HF_ENDPOINT"] = server.url
        yield server


def objects(printed: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in printed.splitlines()]


def test_a_model_is_pulled_listed_run_and_deleted(tongwen: Run, hub: StandIn) -> None:
    pulled = tongwen("pull", REPO)
    assert pulled.returncode == 0
    assert pulled.stdout == ""
    assert "asking the Hugging Face hub, then ModelScope" in pulled.stderr
    assert f"fetching {REPO}: " in pulled.stderr
    assert "free on the disk" in pulled.stderr
    assert f"licence: Qwen Research, with terms of its own: see {REPO}" in pulled.stderr

    (listed,) = objects(tongwen("list", "--json").stdout)
    assert listed["name"] == REPO
    assert listed["source"] == "hub"
    assert REPO in tongwen("list").stdout

    requests = len(hub.requests)
    ran = tongwen("run", REPO, "hello", "--max-tokens", "3", "--temperature", "0")
    assert ran.returncode == 0
    assert "fetching" not in ran.stderr
    assert "is here already" in tongwen("pull", REPO).stderr
    assert len(hub.requests) == requests

    assert tongwen("rm", REPO).returncode == 2
    removed = tongwen("rm", REPO, "--yes")
    assert removed.returncode == 0
    assert "freed" in removed.stderr
    assert tongwen("list", "--json").stdout == ""
    again = tongwen("rm", REPO, "--yes")
    assert again.returncode == 1
    assert f"error: the store has no model `{REPO}`" in again.stderr


def test_run_fetches_what_is_not_here(tongwen: Run, hub: StandIn) -> None:
    done = tongwen("run", REPO, "hello", "--max-tokens", "3", "--json")
    assert done.returncode == 0
    assert "licence: Qwen Research" in done.stderr
    assert len(objects(done.stdout)) == 1
    assert hub.requests


def test_a_source_that_is_named_is_the_only_one_asked(tongwen: Run, hub: StandIn) -> None:
    done = tongwen("pull", REPO, "--source", "modelscope")
    assert done.returncode == 1
    assert "asking ModelScope\n" in done.stderr
    assert "hub:" not in done.stderr
    assert not hub.requests


def test_silent_hubs_are_given_up_within_fifteen_seconds(
    tongwen: Run, hub: StandIn, environ: dict[str, str]
) -> None:
    hub.faults.is_silent = True
    environ["MODELSCOPE_ENDPOINT"] = hub.url
    started = time.monotonic()
    done = tongwen("run", "qwen2:0.5b", "x")
    assert time.monotonic() - started < 15
    assert "hub: silent for 5 s; modelscope: silent for 5 s" in done.stderr
    assert "same architecture, reachable here: qwen2.5-coder:0.5b, 491 MB\n" in done.stderr


def test_a_model_is_shown_by_its_files(tongwen: Run, tiny_chat: Path) -> None:
    (facts,) = objects(tongwen("show", str(tiny_chat), "--json").stdout)
    assert facts["architecture"] == "Qwen2ForCausalLM"
    assert facts["context"] == 9000
    assert facts["licence"] == "apache-2.0"
    assert facts["chat_template"] == "qwen2"
    assert str(facts["quantization"]).startswith("float32 x ")
    assert facts["sampling_from"] == "its generation_config.json"
    shown = tongwen("show", str(tiny_chat)).stdout
    assert "chat template" in shown
    assert "apache-2.0" in shown


def test_a_base_model_is_shown_without_a_template(tongwen: Run, tiny_base: Path) -> None:
    (facts,) = objects(tongwen("show", str(tiny_base), "--json").stdout)
    assert facts["chat_template"] == "none"


def test_a_name_that_is_not_here_is_shown_by_the_table(tongwen: Run) -> None:
    (facts,) = objects(tongwen("show", "qwen2:72b", "--json").stdout)
    assert facts["is_here"] is False
    assert facts["licence"] == "Tongyi Qianwen"
    assert facts["parameters"] == 72_706_203_648
    unknown = tongwen("show", "Fox/Unknown")
    assert unknown.returncode == 1
    assert "hint: `tongwen pull Fox/Unknown` fetches it, if a hub has it" in unknown.stderr


def test_the_table_is_listed_whole(tongwen: Run) -> None:
    listed = objects(tongwen("list", "--available", "--json").stdout)
    assert [entry["name"] for entry in listed] == list(offers())
    carried = [entry["name"] for entry in listed if entry["on_package_index"]]
    assert carried == ["qwen2.5-coder:0.5b", "qwen2.5-coder:1.5b"]
    shown = tongwen("list", "--available").stdout.splitlines()
    assert len(shown) == 1 + len(offers())
    (line,) = [line for line in shown if line.startswith("qwen2.5-coder:0.5b ")]
    assert "491 MB" in line
    assert line.endswith("on the package index")


def test_an_empty_store_says_how_to_fill_it(tongwen: Run) -> None:
    done = tongwen("list")
    assert done.returncode == 0
    assert "tongwen list --available" in done.stderr


def test_a_terminal_is_asked_before_a_model_is_deleted(
    environ: dict[str, str], tmp_path: Path, tongwen: Run, hub: StandIn
) -> None:
    assert hub
    tongwen("pull", REPO)
    with on_terminal("rm", REPO, environ=environ, cwd=tmp_path) as terminal:
        terminal.expect(r"\[y/N\]: $")
        terminal.type("\n")
        assert terminal.end() == 0
    assert REPO in tongwen("list").stdout


def test_a_pull_on_a_terminal_shows_a_bar(
    environ: dict[str, str], tmp_path: Path, hub: StandIn
) -> None:
    hub.faults.bytes_per_s = 50_000
    with on_terminal("pull", REPO, environ=environ, cwd=tmp_path) as terminal:
        terminal.expect(r"[\d.]+/[\d.]+ kB [\d.]+ kB/s 0:00:0\d")
        terminal.expect(rf"{REPO} is here now")
        assert terminal.end() == 0


def test_env_has_what_a_report_needs_and_no_secret(environ: dict[str, str], tongwen: Run) -> None:
    secrets = {"HF_TOKEN": "hf_sesame", "HTTPS_PROXY": "http://me:sesame@proxy.example:3128",
               "PIP_INDEX_URL": "https://me:sesame@index.example/simple"}  # fmt: skip
    environ |= secrets
    done = tongwen("env", "--json")
    assert done.returncode == 0
    (facts,) = objects(done.stdout)
    assert "sesame" not in done.stdout
    assert facts["settings"]["HTTPS_PROXY"] == "http://***@proxy.example:3128"  # type: ignore[index]
    assert facts["versions"]["torch"] != "not installed"  # type: ignore[index]
    assert set(facts) == {"versions", "machine", "torch", "store", "settings"}
    assert "sesame" not in tongwen("env").stdout


def test_settings_that_do_not_matter_here_are_not_shown() -> None:
    shown = masked({"SECRET_PLAN": "x", "HF_HOME": "/models", "MODELSCOPE_API_TOKEN": "y"})
    assert shown == {"HF_HOME": "/models", "MODELSCOPE_API_TOKEN": "(set)"}


def test_figures_are_read_at_a_glance() -> None:
    assert [size(n) for n in (0, 999, 1_000, 491_400_064, 1_117_320_768, 47_415_712_640)] == [
        "0 B", "999 B", "1.0 kB", "491 MB", "1.1 GB", "47 GB",
    ]  # fmt: skip
    assert [parameters(n) for n in (54_000, 494_032_768, 7_615_616_512)] == [
        "54 k", "494 M", "7.62 B",
    ]  # fmt: skip
    assert [duration(s) for s in (8.2, 125, 4900)] == ["8 s", "2 min", "1 h 22 min"]
    assert ago(None) == "never"
    assert columns([("a", "b"), ("long", "\x1b[31m")]) == "a     b\nlong  \\x1b[31m"

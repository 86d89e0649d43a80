"""The real model measured as somebody would do it: run, look again, verify, compare, report."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]

MODEL = "qwen2.5-coder:0.5b"


@pytest.fixture(scope="module")
def data(shared: Path) -> str:
    return str(shared / "data")


@pytest.fixture(scope="module")
def tongwen(real_gguf: Path) -> Any:
    assert real_gguf.exists()

    def run(*words: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tongwen", "eval", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def measured(tongwen: Any, data: str, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Code, a written answer and ranked letters; four samples of each."""
    out = tmp_path_factory.mktemp("evals")
    options = ["--model", MODEL, "--data", data, "--limit", "4", "--out", str(out), "--json"]
    shown = tongwen("humaneval,gsm8k,arc_challenge", *options, "--page", str(out / "page.html"))
    assert (out / "page.html").read_text().count("<html") == 1
    return [json.loads(line) for line in shown.splitlines()]


def test_each_benchmark_has_a_figure_and_a_receipt(measured: list[Any]) -> None:
    assert [each["task"] for each in measured] == ["humaneval", "gsm8k", "arc_challenge"]
    for each in measured:
        assert 0 <= each["score"] <= 1
        assert each["num_samples"] == 4
        assert each["num_failed"] == 0
        assert Path(each["receipt"]).exists()


def test_receipts_hold_in_another_run_with_another_batch_size(
    measured: list[Any], tongwen: Any, data: str
) -> None:
    for each in measured:
        said = json.loads(
            tongwen("verify", each["receipt"], "--data", data, "--concurrency", "2", "--json")
        )
        assert said["holds"]
        assert said["num_asked_again"] == 4
        assert said["differences"] == []


def test_what_was_done_is_not_done_again_for_more_samples(
    measured: list[Any], tongwen: Any, data: str
) -> None:
    receipt = Path(measured[1]["receipt"])
    options = ["--model", MODEL, "--data", data, "--limit", "4", "--out", str(receipt.parent)]
    again = json.loads(tongwen("gsm8k", *options, "--concurrency", "1", "--json"))
    assert again["score"] == measured[1]["score"]
    assert again["receipt"] == str(receipt)


def test_a_receipt_is_compared_with_itself(measured: list[Any], tongwen: Any) -> None:
    receipt = measured[0]["receipt"]
    said = json.loads(tongwen("compare", receipt, receipt, "--json"))
    assert said["flips"] == []

"""`tongwen eval` as somebody types it, without a model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.evals.tiny import save_packable

from tongwen.evals.catalogue import TASKS
from tongwen.evals.receipt import read_receipt
from tongwen.evals.suites import SUITES


def tongwen(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tongwen", "eval", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"TONGWEN_HOME": str(home), "PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1"},
    )


def test_the_list_has_every_benchmark_with_its_licence_and_source(tmp_path: Path) -> None:
    done = tongwen("list", "--json", home=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["task"] for row in rows] == list(TASKS)
    for row in rows:
        assert row["licence"]
        assert row["obtain"]
        assert row["metric"]
        assert row["presets"]
        assert all(row["presets"].values())
    published = {row["task"]: row["published"] for row in rows}
    assert published["mmlu"]["Qwen2-7B"] == 70.3
    assert published["mt_bench"]["Qwen2-7B-Instruct"] == 8.41
    assert published["wikitext2"] == {}


def test_the_lists_table_has_the_published_figures_of_one_size(tmp_path: Path) -> None:
    done = tongwen("list", home=tmp_path)
    head, *lines = done.stdout.splitlines()
    assert head.split()[:4] == ["task", "data", "Qwen2-7B", "Qwen2-7B-Instruct"]
    mmlu = next(line for line in lines if line.startswith("mmlu "))
    assert "70.3" in mmlu
    assert "70.5" in mmlu


def test_the_list_says_whose_data_is_there(shared: Path, tmp_path: Path) -> None:
    done = tongwen("list", "--json", "--data", str(shared / "data"), home=tmp_path)
    status = {row["task"]: row["data"] for row in map(json.loads, done.stdout.splitlines())}
    assert status["humaneval"] == status["mmlu"] == "there"
    assert status["gsm8k"] == "a sample"
    assert status["gpqa"] == "absent"


def test_a_benchmark_that_is_none_is_refused_with_the_nearest(tmp_path: Path) -> None:
    done = tongwen("gsm9k", "--model", "none", home=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no benchmark is called `gsm9k`" in done.stderr
    assert "did you mean `gsm8k`" in done.stderr


@pytest.mark.parametrize(
    ("size", "passed"), [("0.5b", 99), ("1.5b", 113)], ids=["half", "one and a half"]
)
def test_stored_completions_are_graded_without_a_model(
    size: str, passed: int, shared: Path, tmp_path: Path
) -> None:
    stored = shared / "data" / "humaneval" / f"reference_completions_{size}.jsonl"
    data = str(shared / "data")
    done = tongwen(
        "score", "humaneval", "--completions", str(stored), "--data", data, "--json", home=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert round(found["score"] * 164) == passed
    assert found["num_failed"] == 0
    receipt = read_receipt(Path(found["receipt"]))
    assert receipt.settings.sandbox is not None
    assert receipt.subject.where == "stored completions"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no completion"),
        ("{", "line 1 of"),
        ('{"task_id": "HumanEval/0"}', "names no sample, or holds no completion"),
        ('{"task_id": "HumanEval/999", "completion": ""}', "is no sample of the benchmark"),
        ('{"task_id": "HumanEval/0", "completion": ""}', "completes 1 of 164 samples"),
    ],
)
def test_a_file_of_completions_that_is_none_is_refused(
    text: str, words: str, shared: Path, tmp_path: Path
) -> None:
    (tmp_path / "stored.jsonl").write_text(text)
    stored, data = str(tmp_path / "stored.jsonl"), str(shared / "data")
    done = tongwen(
        "score", "humaneval", "--completions", stored, "--data", data, home=tmp_path / "home"
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_what_a_suite_could_not_run_is_named_with_the_reason(
    form: list[str], tmp_path: Path
) -> None:
    model = save_packable(tmp_path / "tiny", seed=7)
    (tmp_path / "empty").mkdir()
    options = ["--model", str(model), "--data", str(tmp_path / "empty"), *form]
    done = tongwen("open-llm-leaderboard-v1", *options, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    named = [line for line in done.stderr.splitlines() if " was not run: " in line]
    assert [line.partition(" was not run: ")[0] for line in named] == [
        part.task for part in SUITES["open-llm-leaderboard-v1"].parts
    ]


def test_what_was_done_before_is_said_and_asked_again_where_that_is_wanted(tmp_path: Path) -> None:
    model = save_packable(tmp_path / "tiny", seed=7)
    words = ["code_switching", "--model", str(model), "--limit", "2", "--json"]
    first, second, third = (
        tongwen(*words, *more, home=tmp_path / "home") for more in ([], [], ["--again"])
    )
    assert [done.returncode for done in (first, second, third)] == [0, 0, 0], first.stderr
    receipt = json.loads(first.stdout)["receipt"]
    assert second.stdout == first.stdout
    assert f"code_switching: done before: {receipt}" in second.stderr
    assert "done before" not in first.stderr + third.stderr
    assert json.loads(third.stdout)["score"] == json.loads(first.stdout)["score"]


def test_a_receipt_that_was_changed_is_refused(shared: Path, tmp_path: Path) -> None:
    stored = shared / "data" / "humaneval" / "reference_completions_0.5b.jsonl"
    data = str(shared / "data")
    options = ["--completions", str(stored), "--data", data, "--json", "--out", str(tmp_path)]
    found = json.loads(tongwen("score", "humaneval", *options, home=tmp_path).stdout)
    path = Path(found["receipt"])
    path.write_text(path.read_text().replace('"num_failed": 0', '"num_failed": 1'))
    done = tongwen("compare", str(path), str(path), home=tmp_path)
    assert done.returncode == 1
    assert "was changed after it was written" in done.stderr

"""`tongwen eval report` as somebody types it."""

import json
from pathlib import Path

import pytest
from tests.cli.test_eval import tongwen
from tests.evals.made import save_run, written

from tongwen.evals.figure import Figure

FIGURE = Figure(score=0.61, stderr=0.038)


def saved(directory: Path, task: str = "humaneval", figure: Figure = FIGURE) -> str:
    return str(save_run(directory, [written("one", 1.0)], task=task, figure=figure))


def test_a_table_has_the_published_figures_beside(tmp_path: Path) -> None:
    done = tongwen("report", saved(tmp_path), home=tmp_path)
    head, _, line = done.stdout.splitlines()
    assert "Qwen2-7B" in head
    assert "61.00 ± 3.80 %" in line
    assert done.stderr == ""


def test_json_holds_the_receipts_whole(tmp_path: Path) -> None:
    done = tongwen("report", saved(tmp_path), "--form", "json", home=tmp_path)
    (run,) = json.loads(done.stdout)["runs"]
    assert run["figure"]["score"] == 0.61
    assert run["published"]


@pytest.mark.parametrize("form", ["lm-eval", "opencompass"])
def test_another_harness_finds_its_files(tmp_path: Path, form: str) -> None:
    out = tmp_path / "out"
    done = tongwen("report", saved(tmp_path), "--form", form, "--out", str(out), home=tmp_path)
    assert done.returncode == 0
    there = [path for path in out.rglob("*") if path.is_file()]
    assert [f"wrote {path}" in done.stderr for path in there] == [True] * len(there)
    assert there


def test_a_page_has_the_published_figures(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = tongwen("report", saved(tmp_path), "--form", "page", "--out", str(out), home=tmp_path)
    assert done.returncode == 0
    assert "Qwen2-7B" in out.read_text()


def test_safety_stands_in_the_cards_own_table(tmp_path: Path) -> None:
    figure = Figure(score=0.2, stderr=0.1, metrics={"agreement": 0.75})
    done = tongwen("report", saved(tmp_path, "safety", figure), home=tmp_path)
    assert "Harmful answers, in per cent: less is better" in done.stdout
    assert "judge and refusal rule agree on 75 %" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--form", "page"], "--form page needs --out"),
        (["--out", "x"], "--form markdown goes to stdout"),
    ],
)
def test_a_place_that_does_not_fit_the_form_is_refused(
    tmp_path: Path, options: list[str], words: str
) -> None:
    done = tongwen("report", saved(tmp_path), *options, home=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr

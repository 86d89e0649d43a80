"""TruthfulQA weighs every listed answer once and scores what the true ones have."""

from math import log
from pathlib import Path

import pytest
from tests.evals.tasks.ranking import lay, pairs_of, ranked, task_of

from tongwen.evals.tasks.truthfulqa import TruthfulQa

ROW = {
    "Question": "Is the moon cheese?",
    "Best Answer": "It is rock",
    "Correct Answers": "It is rock; It is stone.; ",
    "Incorrect Answers": "It is cheese; It is milk",
}
HUB = {
    "question": "Is the sun cold?",
    "mc1_targets": {"choices": ["No.", "Yes."], "labels": [1, 0]},
    "mc2_targets": {"choices": ["No.", "Never.", "Never.", "Yes."], "labels": [1, 1, 1, 0]},
}


@pytest.fixture
def task(tmp_path: Path) -> TruthfulQa:
    lay(tmp_path, "truthfulqa/truthfulqa", [ROW, HUB])
    lay(tmp_path, "truthfulqa/qa_prompt", [{"name": "qa", "prompt": "Q: One?\nA: One."}])
    found = task_of(TruthfulQa, tmp_path)
    assert isinstance(found, TruthfulQa)
    return found


def test_each_answer_is_weighed_once_with_its_full_stop(task: TruthfulQa) -> None:
    sample = task.samples()[0]
    context = "Q: One?\nA: One.\n\nQ: Is the moon cheese?\nA:"
    texts = [" It is rock.", " It is cheese.", " It is milk.", " It is stone."]
    assert pairs_of(task, sample) == [(context, text) for text in texts]


def test_the_score_is_the_share_of_the_true_answers(task: TruthfulQa) -> None:
    sample = task.samples()[0]
    grade = ranked(task, sample, [log(p) - 800 for p in (0.1, 0.2, 0.1, 0.4)])
    assert grade.score == pytest.approx(0.5 / 0.8)
    assert (grade.metrics, grade.parsed) == ({"mc1": 0}, "It is cheese.")
    assert ranked(task, sample, [-1.0, -2.0, -3.0, -9.0]).metrics == {"mc1": 1}


def test_an_answer_that_is_listed_twice_counts_twice(task: TruthfulQa) -> None:
    sample = task.samples()[1]
    assert [text for _, text in pairs_of(task, sample)] == [" No.", " Yes.", " Never."]
    grade = ranked(task, sample, [log(0.2), log(0.4), log(0.1)])
    assert grade.score == pytest.approx(0.4 / 0.8)
    assert grade.metrics == {"mc1": 0}


@pytest.mark.parametrize("preset", TruthfulQa.about.presets)
def test_every_question_of_the_real_file_is_asked(shared: Path, preset: str) -> None:
    task = task_of(TruthfulQa, shared / "data", preset)
    samples = task.samples()
    assert len(samples) == len({sample.id for sample in samples}) == 817
    for sample in samples:
        count = len(pairs_of(task, sample))
        first = ranked(task, sample, [0.0] + [-900.0] * (count - 1))
        assert first.metrics == {"mc1": 1.0}
        assert first.score == pytest.approx(1.0)

"""ARC-C, HellaSwag and WinoGrande ask as published, and score what is likelier."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.evals.tasks.ranking import lay, pairs_of, ranked, task_of, whole

from tongwen.evals.task import Task
from tongwen.evals.tasks.arc_challenge import ArcChallenge
from tongwen.evals.tasks.hellaswag import HellaSwag
from tongwen.evals.tasks.winogrande import WinoGrande

ARC = {"question": "Why?", "choices": ["because", "no"], "gold": 1}
ARC_HUB = {
    "question": "How?",
    "choices": {"text": ["so", "thus"], "label": ["1", "2"]},
    "answerKey": "2",
}
SWAG = {
    "activity_label": "Baking",
    "ctx_a": "A man kneads [x] dough.",
    "ctx_b": "he",
    "endings": ["sleeps [title] on.", "bakes  it.", "sings.", "runs."],
    "label": "1",
}
GRANDE = {
    "sentence": "The cup fell off the table because _ was slippery.",
    "option1": "the cup",
    "option2": "the table",
    "answer": "2",
}
FILLED = {
    "context_options": ["Ann saw Eve and Ann", "Ann saw Eve and Eve"],
    "continuation": "waved.",
    "gold": 0,
}


def test_arc_weighs_each_answer_and_scores_per_character(tmp_path: Path) -> None:
    lay(tmp_path, "arc_challenge/test", [ARC])
    lay(tmp_path, "arc_challenge/train", [ARC_HUB])
    task = task_of(ArcChallenge, tmp_path, shots=1)
    sample = task.samples()[0]
    context = "Question: How?\nAnswer: thus\n\nQuestion: Why?\nAnswer:"
    assert pairs_of(task, sample) == [(context, " because"), (context, " no")]
    grade = ranked(task, sample, [-7.0, -2.0])  # -1 a character each: the first of equals
    assert (grade.score, grade.metrics, grade.parsed) == (0, {"acc": 1}, "0")
    grade = ranked(task, sample, [-1.9, -0.4])
    assert (grade.score, grade.metrics, grade.parsed) == (1, {"acc": 1}, "1")


def test_hellaswag_cleans_the_text_and_sets_rows_apart(tmp_path: Path) -> None:
    lay(tmp_path, "hellaswag/val", [{**SWAG, "label": 3}, SWAG])
    task = task_of(HellaSwag, tmp_path, shots=1)
    (sample,) = task.samples()
    scene = "Baking: A man kneads dough. He"
    texts = [" sleeps. on.", " bakes it.", " sings.", " runs."]
    assert [text for _, text in pairs_of(task, sample)] == texts
    assert pairs_of(task, sample)[0][0] == f"{scene} runs.\n\n{scene}"
    assert ranked(task, sample, [-9.0, -0.9, -6.0, -6.0]).score == 1


def test_winogrande_weighs_the_rest_after_either_name(tmp_path: Path) -> None:
    lay(tmp_path, "winogrande/dev", [FILLED, GRANDE])
    task = task_of(WinoGrande, tmp_path, shots=1)
    (sample,) = task.samples()
    before = "Ann saw Eve and Ann waved.\n\nThe cup fell off the table because "
    assert pairs_of(task, sample) == [
        (before + "the cup", " was slippery."),
        (before + "the table", " was slippery."),
    ]
    assert ranked(task, sample, [-3.0, -2.0]).score == 1
    assert ranked(task, sample, [-2.0, -3.0]).score == 0


@pytest.mark.parametrize("preset", ["qwen2-report", "harness"])
@pytest.mark.parametrize(
    ("kind", "count", "shots"),
    [(ArcChallenge, 1172, 25), (HellaSwag, 900, 10), (WinoGrande, 1167, 5)],
)
def test_every_question_of_the_real_files_is_asked(
    shared: Path, kind: type[Task], count: int, shots: int, preset: str
) -> None:
    samples = whole(task_of(kind, shared / "data", preset), count)
    assert {len(sample.shots) for sample in samples} == {shots}
    shown = {str(sample.shots) for sample in samples}
    assert len(shown) == (count if preset == "harness" else 1)


def test_the_harness_draws_the_same_rows_each_time(shared: Path) -> None:
    def shots() -> list[tuple[Mapping[str, Any], ...]]:
        return [one.shots for one in task_of(HellaSwag, shared / "data", "harness").samples()]

    assert shots() == shots()

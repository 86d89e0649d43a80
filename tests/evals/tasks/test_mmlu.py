"""MMLU asks as published, and reads what is answered."""

from pathlib import Path

import pytest
from tests.evals.tasks.ranking import lay, pairs_of, prefers, said, task_of, turns_of, whole

from tongwen.errors import RequestError
from tongwen.evals.tasks.mmlu import Mmlu

OURS = {"subject": "sea_life", "question": " What is a cod? ", "answer": 2}
OURS |= {f"choice{place}": word for place, word in enumerate(["a tree", "a car", "a fish", "tea"])}
HUB = {"subject": "sea_life", "question": "What is kelp?", "answer": 0}
HUB |= {"choices": ["a weed", "a ship", "a king", "a coin"]}
PROBLEM = "What is a cod?\nA. a tree\nB. a car\nC. a fish\nD. tea\nAnswer:"
SOLVED = "What is kelp?\nA. a weed\nB. a ship\nC. a king\nD. a coin\nAnswer: A\n\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    lay(tmp_path, "mmlu/test", [OURS, HUB])
    lay(tmp_path, "mmlu/dev", [HUB, {**OURS, "subject": "other"}])
    return tmp_path


@pytest.mark.parametrize("preset", ["qwen2-report", "harness"])
def test_the_letters_are_weighed_after_the_solved_rows_of_the_subject(
    root: Path, preset: str
) -> None:
    task = task_of(Mmlu, root, preset, shots=1)
    sample = task.samples()[0]
    head = "The following are multiple choice questions (with answers) about sea life.\n\n"
    assert pairs_of(task, sample) == [(head + SOLVED + PROBLEM, f" {one}") for one in "ABCD"]
    assert [prefers(task, sample, place).score for place in range(4)] == [0, 0, 1, 0]
    assert prefers(task, sample, 2).parsed == "C"


def test_a_chat_model_is_shown_turns_and_writes_a_letter(root: Path) -> None:
    task = task_of(Mmlu, root, is_chat=True, shots=1)
    sample = task.samples()[0]
    turns = turns_of(task, sample)
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[1]["content"] == "A"
    assert turns[2]["content"].endswith(PROBLEM)
    assert [said(task, sample, text).score for text in ("C", "Answer: (C)", "**C**.")] == [1, 1, 1]
    assert [said(task, sample, text).score for text in ("A", "", "Fish")] == [0, 0, 0]
    assert said(task, sample, "none").parsed is None


def test_the_harness_asks_no_chat_model_in_turns(root: Path) -> None:
    task = task_of(Mmlu, root, "harness", is_chat=True, shots=1)
    assert len(pairs_of(task, task.samples()[0])) == 4


def test_more_shots_than_there_are_solved_rows_are_refused(root: Path) -> None:
    with pytest.raises(RequestError, match="not 2"):
        task_of(Mmlu, root, shots=2).samples()


@pytest.mark.parametrize("preset", Mmlu.about.presets)
def test_every_question_of_the_real_file_is_asked(shared: Path, preset: str) -> None:
    samples = whole(task_of(Mmlu, shared / "data", preset), 14_042)
    assert len({sample.group for sample in samples}) == 57
    assert {len(sample.shots) for sample in samples} == {5}

"""MMLU-Pro: worked examples of the category, three rules for the letter."""

from pathlib import Path

import pytest

from tongwen.errors import RequestError
from tongwen.evals.tasks.mmlu_pro import MmluPro


def row(number, category="law", cot=""):
    return {
        "question_id": number,
        "question": f"Which is {number}?",
        "options": ["one", " two ", "three"],
        "answer": "B",
        "category": category,
        "cot_content": cot,
    }


def test_without_worked_examples_rows_are_set_apart_and_the_notes_say_so(make, mark, lay):
    lay("mmlu_pro/test", [row(n) for n in range(7)] + [row(n, "math") for n in range(7, 14)])
    task = make(MmluPro)
    samples = task.samples()
    assert len(samples) == 4
    for sample in samples:
        assert len(sample.shots) == 5
        assert {shot["category"] for shot in sample.shots} == {sample.group}
        assert sample.row not in sample.shots
    prompt = task.question(samples[0]).prompt
    assert prompt.count("Answer: Let's think step by step. The answer is (B).\n\n") == 5
    assert mark(task, samples[0], "B").notes == {"examples": "letters alone"}


def test_the_validation_rows_are_the_worked_examples(make, mark, lay):
    lay("mmlu_pro/test", [row(1)])
    told = "A: Let's think step by step. Two is two. The answer is (B)."
    lay("mmlu_pro/validation", [row(100 + n, cot=told) for n in range(5)])
    task = make(MmluPro)
    (sample,) = task.samples()
    prompt = task.question(sample).prompt
    assert prompt.startswith("The following are multiple choice questions (with answers) about law")
    assert (
        "C. three\nAnswer: Let's think step by step. Two is two. The answer is (B).\n\n" in prompt
    )
    assert prompt.endswith(
        "Which is 1?\nOptions:\nA. one\nB. two\nC. three\nAnswer: Let's think step by step."
    )
    assert mark(task, sample, "B").notes == {"examples": "worked"}
    with pytest.raises(RequestError, match="not 6"):
        make(MmluPro, shots=6).samples()


def test_without_shots_every_row_is_asked(make, lay):
    lay("mmlu_pro/test", [row(n) for n in range(3)])
    assert len(make(MmluPro, shots=0).samples()) == 3


@pytest.mark.parametrize(
    "case",
    [
        ("qwen2-report", "So the answer is (B). The answer is (C).", "B"),
        ("qwen2-report", "Answer: C", "C"),
        ("qwen2-report", "I would say C", "C"),
        ("qwen2-report", "none of them", None),
        ("harness", "the answer is B", "B"),
        ("harness", "Answer: C", None),
    ],
)
def test_the_letter_is_found_by_the_rules_of_the_preset(make, mark, lay, case):
    preset, text, letter = case
    lay("mmlu_pro/test", [row(n) for n in range(6)])
    task = make(MmluPro, preset)
    assert mark(task, task.samples()[0], text).parsed == letter


@pytest.mark.parametrize("preset", MmluPro.about.presets)
@pytest.mark.parametrize("is_chat", [False, True])
def test_every_row_can_be_asked_and_its_letter_is_right(
    shared: Path, make, mark, preset: str, is_chat: bool
):
    task = make(MmluPro, preset, is_chat=is_chat, root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 5000 - 14 * 5
    for sample in samples:
        task.question(sample)
        letter = sample.row["answer"]
        assert mark(task, sample, f"Hm. The answer is ({letter}).").score == 1
        other = "B" if letter == "A" else "A"
        assert mark(task, sample, f"Hm. The answer is ({other}).").score == 0

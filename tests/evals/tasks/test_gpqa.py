"""GPQA: the right choice stands anywhere, the same place in every run."""

import asyncio
from collections import Counter

import pytest

from tongwen.evals.question import Answer, Likelihood
from tongwen.evals.tasks.gpqa import Gpqa


def row(number):
    return {
        "Record ID": f"rec{number}",
        "Question": f"What is {number}? ",
        "Correct Answer": f"{number} ",
        "Incorrect Answer 1": "x",
        "Incorrect Answer 2": "y",
        "Incorrect Answer 3": "z",
        "High-level domain": "Physics",
    }


@pytest.fixture(autouse=True)
def _file(lay):
    lay("gpqa/gpqa_main", [row(n) for n in range(205)])


def test_five_rows_are_shown_and_not_asked(make):
    samples = make(Gpqa).samples()
    assert len(samples) == 200
    shown = {shot["id"] for shot in samples[0].shots}
    assert len(shown) == 5
    assert shown.isdisjoint(sample.id for sample in samples)
    assert len(make(Gpqa, "zero-shot").samples()) == 205


def test_the_order_of_the_choices_is_of_the_question_alone(make, lay):
    before = {each.id: each.row for each in make(Gpqa, "zero-shot").samples()}
    lay("gpqa/gpqa_main", [row(n) for n in (7, 3)])
    assert all(each.row == before[each.id] for each in make(Gpqa, "zero-shot").samples())


def test_the_right_choice_stands_at_every_letter(make):
    counts = Counter(sample.row["key"] for sample in make(Gpqa, "zero-shot").samples())
    assert set(counts) == set("ABCD")
    # Of 205 draws from four: 51 each, within four standard deviations of 6.2.
    assert all(26 < count < 77 for count in counts.values())


def test_a_base_model_ranks_the_letters(make):
    task = make(Gpqa)
    sample = task.samples()[0]
    pairs = task.question(sample).pairs
    assert [pair[1] for pair in pairs] == [" (A)", " (B)", " (C)", " (D)"]
    assert len({pair[0] for pair in pairs}) == 1
    place = "ABCD".index(sample.row["key"])
    assert f"({sample.row['key']}) {sample.row['question'][8:-1]}\n" in pairs[0][0]
    for best in range(4):
        likelihoods = tuple(
            Likelihood(logprob=-1.0 if i == best else -2.0, num_tokens=2) for i in range(4)
        )
        grade = asyncio.run(task.grade(sample, Answer(likelihoods=likelihoods)))
        assert grade.score == float(best == place)


@pytest.mark.parametrize("said", ["The answer is ({}).", "**Answer: {}**", "\\boxed{{{}}}", "{}"])
def test_a_chat_model_writes_the_letter(make, mark, said):
    task = make(Gpqa, is_chat=True)
    sample = task.samples()[0]
    assert len(task.question(sample).prompt) == 11
    key = sample.row["key"]
    other = "A" if key != "A" else "B"
    assert mark(task, sample, said.format(key)).score == 1
    assert mark(task, sample, said.format(other)).score == 0

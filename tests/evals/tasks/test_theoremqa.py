"""TheoremQA: four kinds of answer, each by its own rule."""

import asyncio
from pathlib import Path

import pytest

from tongwen.evals.question import Answer
from tongwen.evals.tasks.theoremqa import TheoremQa
from tongwen.judge.symbolic import MAX_LENGTH


def row(answer, kind, **others):
    return {"Question": "?", "Answer": answer, "Answer_type": kind, "Picture": None, **others}


@pytest.fixture
def _exemplars(lay):
    lay("theoremqa/fewshot_examples", [{"question": "1+1?", "answer": "The answer is 2"}] * 5)


@pytest.mark.usefixtures("_exemplars")
class TestRowsOfOurOwn:
    def test_questions_with_a_picture_are_left_out(self, make, lay):
        lay("theoremqa/test", [row(1, "integer", Picture="images/a.jpg"), row(2, "integer")])
        assert [sample.row["Answer"] for sample in make(TheoremQa).samples()] == [2]

    def test_five_examples_stand_before_the_question(self, make, lay):
        lay("theoremqa/test", [row(2, "integer")])
        base, chat = make(TheoremQa), make(TheoremQa, is_chat=True)
        prompt = base.question(base.samples()[0]).prompt
        assert prompt.count("The answer is 2\n\n") == 5
        assert prompt.endswith("Problem:\n?\nSolution:\n")
        assert len(chat.question(chat.samples()[0]).prompt) == 12

    @pytest.mark.parametrize(
        "case",
        [
            ((3, "integer"), "The answer is 3.", 1),
            ((3, "integer"), "The answer is 3.2", 1),
            ((3, "integer"), "The answer is 3.6", 0),
            ((3, "integer"), "3 and 3 and 3, again and again", 0),
            ((2.0, "float"), "so \\boxed{2.05}", 1),
            ((2.0, "float"), "The answer is 2.1", 0),
            ((0.5, "float"), "The answer is $\\frac{1}{2}$.", 1),
            ((3.0e8, "float"), "The answer is $3 \\times 10^{8}$ m/s", 1),
            ((True, "bool"), "The answer is **True**.", 1),
            ((True, "bool"), "The answer is no", 0),
            ((False, "bool"), "The answer is (b)", 0),
            (("(c)", "option"), "The answer is (C).", 1),
            (("(c)", "option"), "The answer is (a)", 0),
            (([2, 1], "list of integer"), "The answer is [2, 1]", 1),
            (([2, 1], "list of integer"), "The answer is (2, 1, 3)", 0),
            (([0.333, 0.25], "list of float"), "The answer is [\\frac{1}{3}, 1/4]", 1),
            (("[1, 2]", "list of integer"), "The answer is [1, 2]", 1),
            (("False", "bool"), "The answer is False", 1),
        ],
    )
    def test_each_kind_has_its_rule(self, make, mark, lay, case):
        key, text, score = case
        lay("theoremqa/test", [row(*key)])
        task = make(TheoremQa)
        assert mark(task, task.samples()[0], text).score == score

    def test_what_cannot_be_told_is_wrong_and_said(self, make, mark, lay):
        lay("theoremqa/test", [row(3, "float")])
        task = make(TheoremQa)
        found = mark(task, task.samples()[0], f"The answer is {'x+' * MAX_LENGTH}x")
        assert found.score == 0
        assert f"{2 * MAX_LENGTH + 1} characters" in found.notes["undecided"]

    def test_a_solution_that_was_cut_off_has_no_answer(self, make, lay):
        lay("theoremqa/test", [row(3, "integer")])
        task = make(TheoremQa)
        (sample,) = task.samples()
        for text, score in (("so\n3", 0), ("The answer is 3.\n\nOr 4", 1)):
            cut = Answer(turns=(text,), finish_reason="length")
            assert asyncio.run(task.grade(sample, cut)).score == score


@pytest.mark.parametrize("is_chat", [False, True])
def test_every_row_can_be_asked_and_its_key_is_right(shared: Path, make, mark, is_chat: bool):
    task = make(TheoremQa, is_chat=is_chat, root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 800 - 53
    for sample in samples:
        task.question(sample)
        assert mark(task, sample, f"So.\nThe answer is {sample.row['Answer']}.").score == 1
        assert mark(task, sample, "The answer is -987654321.").score == 0

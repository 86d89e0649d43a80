"""MATH: Minerva's prompt, a box for chat models, answers equal in form or by meaning."""

from pathlib import Path

import pytest

from tongwen.errors import RequestError
from tongwen.evals.sample import Grade, Graded
from tongwen.evals.tasks.competition_math import CompetitionMath
from tongwen.judge.symbolic import MAX_LENGTH

ROW = {"problem": "Half of $3$?", "solution": "It is $\\boxed{\\frac{3}{2}}$.", "type": "Algebra"}
SHOT = {
    "problem": "What is $\\sqrt{4}$.}",
    "solution": "\\begin{align*}\na\\\nb\n\\end{align*}\nFinal Answer: The final answer is $2$. "
    "I hope it is correct.",
}


@pytest.fixture
def _files(lay):
    lay("math/test", [ROW])
    lay("math/minerva_fewshot4", [SHOT] * 4)


@pytest.mark.usefixtures("_files")
class TestRowsOfOurOwn:
    def test_flaws_of_the_exemplars_are_mended(self, make):
        task = make(CompetitionMath)
        prompt = task.question(task.samples()[0]).prompt
        assert "What is $\\sqrt{4}$.\n" in prompt
        assert "a\\\\\nb\n" in prompt

    def test_a_base_model_goes_on_behind_four_worked_examples(self, make):
        task = make(CompetitionMath)
        question = task.question(task.samples()[0])
        assert question.prompt.count("I hope it is correct.\n\nProblem:\n") == 4
        assert question.prompt.endswith("Problem:\nHalf of $3$?\n\nSolution:")
        assert question.params.stop == ("Problem:",)

    def test_a_chat_model_is_asked_for_a_box_or_sees_the_examples_as_turns(self, make):
        boxed, shown = (
            make(CompetitionMath, preset, is_chat=True)
            for preset in ("qwen2-report", "opencompass")
        )
        assert len(boxed.question(boxed.samples()[0]).prompt) == 2
        assert len(shown.question(shown.samples()[0]).prompt) == 9

    @pytest.mark.parametrize(
        ("text", "score"),
        [
            ("so \\boxed{1.5}", 1),
            ("Final Answer: The final answer is $\\boxed{\\dfrac32}$. I hope it is correct.", 1),
            ("hence $\\boxed{\\frac{6}{4}}$ units", 1),
            ("\\boxed{\\frac{2}{3}}", 0),
            ("", 0),
        ],
    )
    def test_what_means_the_same_is_right(self, make, mark, text, score):
        task = make(CompetitionMath)
        assert mark(task, task.samples()[0], text).score == score

    def test_the_harness_takes_minervas_sentence_alone(self, make, mark):
        task = make(CompetitionMath, "harness")
        sample = task.samples()[0]
        said = "Final Answer: The final answer is $\\frac{3}{2}$. I hope it is correct."
        assert mark(task, sample, said).score == 1
        assert mark(task, sample, "\\boxed{\\frac{3}{2}}").parsed is None

    def test_what_cannot_be_told_is_wrong_and_said(self, make, mark):
        task = make(CompetitionMath)
        found = mark(task, task.samples()[0], f"\\boxed{{{'1+' * MAX_LENGTH}1}}")
        assert found.score == 0
        assert f"{2 * MAX_LENGTH + 1} characters" in found.notes["undecided"]

    def test_the_figure_has_the_score_of_each_level(self, make, lay):
        levels = ("Level 5", "Level 1", 5, "Level ?", None)
        lay("math/test", [dict(ROW, level=level) for level in levels] + [ROW])
        scores = (0.0, 1.0, 1.0, 1.0, 1.0, 1.0)
        task = make(CompetitionMath)
        graded = [
            Graded(sample=sample, grades=(Grade(score=score),))
            for sample, score in zip(task.samples(), scores, strict=True)
        ]
        figure = task.figure(graded)
        assert figure.score == 5 / 6
        assert figure.metrics == {"level_1": 1.0, "level_5": 0.5}

    def test_a_key_without_a_box_fails_and_is_not_wrong(self, make, mark, lay):
        lay("math/test", [dict(ROW, solution="1.5")])
        task = make(CompetitionMath)
        with pytest.raises(RequestError, match="has no box"):
            mark(task, task.samples()[0], "1.5")


@pytest.mark.parametrize("preset", CompetitionMath.about.presets)
@pytest.mark.parametrize("is_chat", [False, True])
def test_every_row_can_be_asked_and_its_own_solution_is_right(
    shared: Path, make, mark, preset: str, is_chat: bool
):
    task = make(CompetitionMath, preset, is_chat=is_chat, root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 1499
    for sample in samples:
        assert task.question(sample).params.repetition_penalty == 1.0
    if preset == "qwen2-report" and is_chat:
        assert all(mark(task, each, each.row["solution"]).score for each in samples)
        assert not any(mark(task, each, "\\boxed{-12345}").score for each in samples[:100])

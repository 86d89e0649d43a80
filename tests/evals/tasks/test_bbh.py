"""BBH: the paper's prompts without their notice, and what follows `answer is`."""

from pathlib import Path

import pytest

from tongwen.errors import RequestError
from tongwen.evals.tasks.bbh import Bbh

PROMPT = "NOTICE\n-----\nPick one.\n\n" + "\n\n".join(
    f"Q: {n}?\nA: Let's think step by step.\nIt is {n}. So the answer is ({letter})."
    for n, letter in enumerate("ABC")
)


@pytest.fixture
def _files(lay):
    lay("bbh/test", [{"task": "picking", "input": "3?", "target": "(B)"}])
    lay("bbh/cot_prompts", [{"task": "picking", "prompt": PROMPT}])


@pytest.mark.usefixtures("_files")
class TestRowsOfOurOwn:
    def test_the_notice_of_the_file_is_no_part_of_the_prompt(self, make):
        task = make(Bbh)
        question = task.question(task.samples()[0])
        assert question.prompt.startswith("Pick one.\n\nQ: 0?")
        assert question.prompt.endswith("(C).\n\nQ: 3?\nA: Let's think step by step.\n")

    def test_fewer_examples_can_be_shown_and_not_more(self, make):
        task = make(Bbh, shots=1)
        assert "Q: 1?" not in task.question(task.samples()[0]).prompt
        more = make(Bbh, shots=4)
        with pytest.raises(RequestError, match="has 3 worked examples, not 4"):
            more.question(more.samples()[0])

    def test_a_chat_model_gets_all_in_one_message(self, make):
        task = make(Bbh, is_chat=True)
        (turn,) = task.question(task.samples()[0]).prompt
        assert turn["content"].endswith("Q: 3?\nA: Let's think step by step.")

    @pytest.mark.parametrize(
        ("text", "score"),
        [
            ("It is 1. So the answer is (B).", 1),
            ("So the answer is: **(B) 1**.", 1),
            ("the answer is $\\boxed{B}$", 1),
            ("So the answer is (A). Not (B).", 0),
            ("I cannot tell.", 0),
        ],
    )
    def test_the_letter_that_is_meant_is_taken(self, make, mark, text, score):
        task = make(Bbh, is_chat=True)
        assert mark(task, task.samples()[0], text).score == score

    def test_the_harness_takes_all_but_the_last_character(self, make, mark):
        task = make(Bbh, "harness")
        assert mark(task, task.samples()[0], "So the answer is (B).").score == 1
        assert mark(task, task.samples()[0], "So the answer is (B)").parsed == "(B"


@pytest.mark.parametrize("preset", Bbh.about.presets)
@pytest.mark.parametrize("is_chat", [False, True])
def test_every_row_can_be_asked_and_its_target_is_right(
    shared: Path, make, mark, preset: str, is_chat: bool
):
    task = make(Bbh, preset, is_chat=is_chat, root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 6511
    assert len({sample.group for sample in samples}) == 27
    for sample in samples:
        prompt = str(task.question(sample).prompt)
        assert "canary" not in prompt
        assert mark(task, sample, f"Hm. So the answer is {sample.row['target']}.").score == 1
    assert not any(mark(task, each, "So the answer is what.").score for each in samples)

"""IFEval: strict prompts are the score; the other three figures stand beside it."""

from pathlib import Path

import pytest

from tongwen.evals.sample import Graded
from tongwen.evals.tasks.ifeval import IfEval

ROWS = [
    {
        "key": 1,
        "prompt": "No comma, and the word moon.",
        "instruction_id_list": ["punctuation:no_comma", "keywords:existence"],
        "kwargs": [{}, {"keywords": ["moon"]}],
    },
    {
        "key": 2,
        "prompt": "No comma.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{"keywords": None}],
    },
]


def test_prompts_are_scored_whole_and_instructions_apart(make, mark, lay):
    lay("ifeval/input_data", ROWS)
    task = make(IfEval, is_chat=True)
    texts = ("sun", "Sure, here it is\nmoon")
    graded = [
        Graded(sample=sample, grades=(mark(task, sample, text),))
        for sample, text in zip(task.samples(), texts, strict=True)
    ]
    figure = task.figure(graded)
    assert figure.score == 0.0
    assert figure.metrics == {
        "prompt-loose": 0.5,
        "instruction-strict": 1 / 3,
        "instruction-loose": 2 / 3,
    }


def test_the_prompt_is_all_that_is_asked(make, lay):
    lay("ifeval/input_data", ROWS)
    base, chat = make(IfEval), make(IfEval, is_chat=True)
    assert base.question(base.samples()[1]).prompt == "No comma."
    assert chat.question(chat.samples()[1]).prompt == [{"role": "user", "content": "No comma."}]


@pytest.mark.parametrize("preset", IfEval.about.presets)
def test_every_row_can_be_asked_and_judged(shared: Path, make, mark, preset: str):
    task = make(IfEval, preset, root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 541
    for sample in samples:
        task.question(sample)
        assert mark(task, sample, "").score == 0

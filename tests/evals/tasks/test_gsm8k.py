"""GSM8K: three published ways to ask, and what is taken for the answer."""

from pathlib import Path
from random import Random

import pytest

from tongwen.errors import RequestError
from tongwen.evals.question import Generate
from tongwen.evals.tasks.gsm8k import Gsm8k

ROWS = [
    {"question": f"Ann has {n} pens, buys 2. How many?", "answer": f"It is\n#### {n + 2}"}
    for n in range(1000, 1006)
]
PROMPT = "".join(
    f"Question: What is {n}+1?\nLet's think step by step\n{n}+1={n + 1}\nThe answer is {n + 1}\n\n"
    for n in range(5)
)


@pytest.fixture
def _files(lay):
    lay("gsm8k/test", ROWS)
    lay("gsm8k/train", [dict(row, question="Train: " + row["question"]) for row in ROWS])
    lay("gsm8k/qwen_prompt", [{"name": "prompt", "prompt": PROMPT}])


@pytest.mark.usefixtures("_files")
class TestRowsOfOurOwn:
    def test_a_base_model_goes_on_behind_four_worked_examples(self, make):
        task = make(Gsm8k)
        prompt = task.question(task.samples()[0]).prompt
        assert prompt.startswith("Question: What is 0+1?\nLet's think step by step\n0+1=1\nThe")
        assert prompt.count("The answer is") == 4
        assert prompt.endswith("Ann has 1000 pens, buys 2. How many?\nLet's think step by step\n")

    def test_a_chat_model_sees_the_same_examples_as_turns(self, make):
        task = make(Gsm8k, is_chat=True)
        turns = task.question(task.samples()[0]).prompt
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * 4 + ["user"]
        assert turns[1]["content"] == "0+1=1\nThe answer is 1"

    def test_more_shots_than_there_are_is_refused(self, make):
        with pytest.raises(RequestError, match="has 5 solved rows to show, not 6"):
            make(Gsm8k, shots=6).samples()

    def test_the_harness_draws_training_rows_from_one_stream(self, make):
        stream = Random(1234)
        train = ["Train: " + row["question"] for row in ROWS]
        for sample in make(Gsm8k, "harness").samples():
            assert [shot["question"] for shot in sample.shots] == stream.sample(train, 5)

    def test_the_harness_prompt_is_question_and_answer_with_one_blank(self, make):
        task = make(Gsm8k, "harness", shots=1)
        sample = task.samples()[0]
        question = task.question(sample)
        shot = sample.shots[0]
        assert question.prompt == (
            f"Question: {shot['question']}\nAnswer: {shot['answer']}\n\n"
            f"Question: {sample.row['question']}\nAnswer:"
        )
        assert question.params.max_tokens == 256
        assert question.params.stop == ("Question:", "</s>", "<|im_end|>")

    def test_boxed_shows_no_examples_and_asks_for_a_box(self, make):
        task = make(Gsm8k, "boxed", is_chat=True)
        system, user = task.question(task.samples()[0]).prompt
        assert system == {"role": "system", "content": "You are a helpful assistant."}
        assert user["content"].endswith("\\boxed{}.")

    @pytest.mark.parametrize(
        ("text", "score"),
        [
            ("So she has 1,002 pens.\nThe answer is 1002", 1),
            ("Therefore \\boxed{1002\\text{ pens}}, and not 7.", 1),
            ("The answer is \\$1002.00.", 1),
            ("She has 1000 and then 1002.", 1),
            ("She has 1002, no: 1003.", 0),
            ("**The answer is 1002 pens, 2 more than 1000.**\n\nQ: 5", 0),
            ("I do not know.", 0),
        ],
    )
    def test_the_number_that_is_meant_is_taken(self, make, mark, text, score):
        task = make(Gsm8k, is_chat=True)
        assert mark(task, task.samples()[0], text).score == score

    def test_opencompass_reads_no_further_than_a_blank_line(self, make, mark):
        task = make(Gsm8k)
        grade = mark(task, task.samples()[0], "First 1000.\n\nThe answer is 1002")
        assert (grade.score, grade.metrics["opencompass"]) == (1, 0)

    def test_the_harness_wants_four_hashes_and_tells_what_a_looser_rule_finds(self, make, mark):
        task = make(Gsm8k, "harness")
        sample = task.samples()[0]
        strict = mark(task, sample, "1000+2 = 1002\n#### 1,002")
        loose = mark(task, sample, "The answer is 1002.")
        assert (strict.score, strict.metrics) == (1, {"flexible-extract": 1})
        assert (loose.score, loose.metrics) == (0, {"flexible-extract": 1})

    def test_a_row_without_its_number_fails_and_is_not_wrong(self, make, mark, lay):
        lay("gsm8k/test", [{"question": "?", "answer": "none"}])
        task = make(Gsm8k)
        with pytest.raises(RequestError, match="no number behind"):
            mark(task, task.samples()[0], "5")


@pytest.mark.usefixtures("_files")
def test_a_base_model_cannot_be_asked_for_a_box(make):
    with pytest.raises(RequestError, match="preset `boxed` asks chat models alone"):
        make(Gsm8k, "boxed", is_chat=False)


@pytest.mark.parametrize(
    ("preset", "is_chat"),
    [
        ("qwen2-report", False),
        ("qwen2-report", True),
        ("harness", False),
        ("harness", True),
        ("boxed", True),
    ],
)
def test_every_row_can_be_asked_and_its_own_solution_is_right(
    shared: Path, make, mark, preset: str, is_chat: bool
):
    task = make(Gsm8k, preset, is_chat=is_chat, root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 700
    for sample in samples:
        assert isinstance(task.question(sample), Generate)
        assert mark(task, sample, sample.row["answer"]).score == 1
        assert mark(task, sample, sample.row["answer"] + "7").score == 0

"""LiveCodeBench: programs taken out of answers, judged on hidden tests or on the statement's."""

import base64
import json
import pickle
import zlib
from pathlib import Path

import pytest

from tongwen.evals.tasks.livecodebench import LiveCodeBench, program_of

ADD = {
    "question_content": "Add.\n\nSample Input 1\n\n1 2\n\nSample Output 1\n\n3\n\nWhy: 1+2=3.\n",
    "platform": "atcoder",
    "question_id": "a1",
    "starter_code": "",
    "difficulty": "easy",
}
DOUBLE = {
    "question_content": "Repeat.\n\nExample 1:\n\n"
    'Input: s = "true, b", n = 2\nOutput: ["true, b","true, b"]\n',
    "platform": "leetcode",
    "question_id": "7",
    "starter_code": "class Solution:\n    def repeat(self, s: str, n: int) -> List[str]:\n        ",
    "difficulty": "hard",
}


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("Here:\n```python\nprint(1)\n```\nDone.", "print(1)\n"),
        ("```\nold()\n```\nbetter:\n```python\nnew()\n```", "new()\n"),
        ("```python\ncut(", "cut("),
        ("print(2)", "print(2)"),
    ],
)
def test_the_last_program_is_taken(text, program):
    assert program_of(text) == program


def test_the_statements_examples_are_judged_on_and_it_is_said(make, mark, lay, sandbox):
    lay("livecodebench/test", [ADD, DOUBLE])
    task = make(LiveCodeBench, is_chat=True, sandbox=sandbox)
    add, double = task.samples()
    right = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"
    method = "```python\nclass Solution:\n    def repeat(self, s: str, n: int) -> List[str]:\n"
    assert mark(task, add, right).score == 1
    assert mark(task, add, right).metrics == {"hidden tests": 0}
    assert mark(task, add, right.replace("+", "-")).score == 0
    assert mark(task, double, method + "        return [s] * n\n```").score == 1
    assert mark(task, double, method + "        return [s]\n```").score == 0
    assert mark(task, double, "no program").score == 0


def test_hidden_tests_come_before_the_statements(make, mark, lay, sandbox):
    hidden = [{"input": "5 6\n", "output": "11", "testtype": "stdin"}]
    packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps(hidden)))).decode()
    row = ADD | {"public_test_cases": "[]", "private_test_cases": packed, "metadata": "{}"}
    lay("livecodebench/test", [row])
    task = make(LiveCodeBench, is_chat=True, sandbox=sandbox)
    (sample,) = task.samples()
    grade = mark(task, sample, "print(11)")
    assert (grade.score, grade.metrics) == (1, {"hidden tests": 1})
    assert mark(task, sample, "print(3)").score == 0


def test_a_base_model_goes_on_inside_a_fence(make, lay):
    lay("livecodebench/test", [ADD])
    task = make(LiveCodeBench)
    question = task.question(task.samples()[0])
    assert question.prompt.endswith("```python\n")
    assert question.params.stop == ("\n```",)


@pytest.mark.parametrize("is_chat", [False, True])
def test_every_row_can_be_asked(shared: Path, make, is_chat: bool):
    task = make(LiveCodeBench, is_chat=is_chat, root=shared / "data")
    samples = task.samples()
    assert len({sample.id for sample in samples}) == len(samples) == 150
    for sample in samples:
        assert sample.row["question_content"].strip() in str(
            task.question(sample).prompt
            if not is_chat
            else task.question(sample).prompt[-1]["content"]
        )

"""Programs that read and print; and what of a completion is worth running."""

import ast
import asyncio

import pytest

from tongwen.judge.sandbox import Sandbox
from tongwen.judge.sanitize import longest_python, sanitize
from tongwen.judge.stdio import Case, judge, judge_solution, same_output
from tongwen.judge.verdict import Verdict

CASES = [Case(given="2\n1 2\n", expected="3\n"), Case(given="1\n5\n", expected="5")]
RIGHT = (
    "import sys\n"
    "if __name__ == '__main__':\n"
    "    n = input()\n"
    "    print(sum(map(int, input().split())))\n"
)


def judged(source: str, sandbox: Sandbox) -> Verdict:
    return asyncio.run(judge(source, CASES, sandbox))


def test_a_program_passes_that_prints_what_is_asked(sandbox: Sandbox) -> None:
    assert judged(RIGHT, sandbox).passed
    assert judged(RIGHT + "exit()\n", sandbox).passed
    whole = "import sys\ndata = sys.stdin.buffer.read().split()\nprint(sum(map(int, data[1:])))"
    assert judged(whole, sandbox).passed


def test_a_program_fails_that_does_not(sandbox: Sandbox) -> None:
    assert judged("print(3)", sandbox).reason == "failed: another output on input 1"
    assert judged("input(); input(); print(input())", sandbox).reason.startswith("failed: EOFError")
    assert judged(RIGHT + "exit(1)\n", sandbox).reason == "failed: exit code 1"


def test_a_method_is_called_with_each_list_of_arguments(sandbox: Sandbox) -> None:
    source = (
        "class Solution:\n"
        "    def twice(self, values: List[int]) -> List[int]:\n"
        "        return tuple(2 * each for each in values)\n"
    )
    cases = [([[1, 2]], [2, 4]), ([[]], [])]
    assert asyncio.run(judge_solution(source, "twice", cases, sandbox)).passed
    wrong = asyncio.run(judge_solution(source, "twice", [([[1]], [3])], sandbox))
    assert wrong.reason == "failed: input 0: another value"
    absent = asyncio.run(judge_solution(source, "thrice", cases, sandbox))
    assert "AttributeError" in absent.reason


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("1 2\n", "1  2", True),
        ("1\n2", "1 2", False),
        ("0.50", "0.5", True),
        ("1.0", "1", True),
        ("1", "2", False),
        ("yes", "YES", False),
        ("", "\n", True),
        ("1 2", "1", False),
    ],
)
def test_outputs_are_compared_by_their_words(printed: str, expected: str, same: bool) -> None:
    assert same_output(printed, expected) is same


MARKDOWN = """Here is the function:
```python
import math
import os as system

LIMIT = 3

def helper(x):
    return min(x, LIMIT)

def unused(x):
    return x

@staticmethod
def wanted(x):
    return helper(x)

print(wanted(3))
```
It calls `helper`."""


def test_of_a_completion_what_the_function_needs_is_kept() -> None:
    kept = sanitize(MARKDOWN, "wanted")
    assert "unused" not in kept
    assert "print(wanted" not in kept
    made = [ast.unparse(each).splitlines()[0] for each in ast.parse(kept).body]
    assert made == [
        "import math",
        "import os as system",
        "LIMIT = 3",
        "def helper(x):",
        "@staticmethod",
    ]


def test_without_the_function_every_definition_is_kept() -> None:
    assert "def unused" in sanitize(MARKDOWN)
    assert "def unused" in sanitize(MARKDOWN, "absent")


def test_the_longest_run_of_lines_that_is_python_is_found() -> None:
    text = "Sure!\n\na = 1\nthis is not\ndef f():\n    return 2\n\nb = 3\n```"
    assert longest_python(text).strip() == "def f():\n    return 2\n\nb = 3"
    assert longest_python("((((") == ""
    assert sanitize("no python, at all!") == ""


def test_a_text_that_is_deeply_nested_is_no_python() -> None:
    assert sanitize("(" * 50_000 + ")" * 50_000) == ""

"""Programs that read their input and print their answer, as LiveCodeBench's do.

LiveCodeBench (Jain et al., 2024, https://arxiv.org/abs/2403.07974) has two kinds of tests: an input
and what must be printed for it, and arguments of a method of `class Solution` with its value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.judge.calls import call
from tongwen.judge.limits import Limits
from tongwen.judge.python import python
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.verdict import Verdict, ended_badly

LIMITS = Limits(wall_s=6.0, memory_bytes=4 << 30, output_bytes=4 << 20)
_ATOL = 1e-9

_PRELUDE = """\
import bisect, collections, copy, functools, heapq, itertools, json, math, operator, random, re
import string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One test of a program that reads and prints."""

    given: str
    """What it reads."""

    expected: str
    """What it must print."""


async def judge(source: str, cases: Sequence[Case], sandbox: Sandbox) -> Verdict:
    """Run a Python program on each input, to the first that it fails on.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    outcome = None
    for place, case in enumerate(cases):
        given = {"source": source, "stdin": case.given}
        outcome = await sandbox.arun(python("script", given, LIMITS))
        if (bad := ended_badly(outcome)) is not None:
            return bad
        if not same_output(outcome.text, case.expected):
            reason = f"failed: another output on input {place}"
            return Verdict(passed=False, reason=reason, outcome=outcome)
    return Verdict(passed=True, reason="passed", outcome=outcome)


async def judge_solution(
    source: str, method: str, cases: Sequence[tuple[list[Any], Any]], sandbox: Sandbox
) -> Verdict:
    """Call a method of `class Solution` on each list of arguments.

    Args:
        source: Python that defines the class; what its starter code imports is there.
        method: Its method's name.
        cases: Arguments, and the value that is right.
        sandbox: Where it runs.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    text = f"{_PRELUDE}\n{source}\n\ndef _call(*given):\n    return Solution().{method}(*given)\n"
    inputs = [arguments for arguments, _ in cases]
    made = await call(text, "_call", inputs, sandbox, limits_s=[LIMITS.wall_s] * len(cases))
    for place, (one, (_, expected)) in enumerate(zip(made.calls, cases, strict=True)):
        # JSON has no tuples: the expected value came as lists.
        value = list(one.value) if isinstance(one.value, tuple) else one.value
        if one.error is not None or value != expected:
            reason = f"failed: input {place}: {one.error or 'another value'}"
            return Verdict(passed=False, reason=reason, outcome=made.outcome)
    return Verdict(passed=True, reason="passed", outcome=made.outcome)


def same_output(printed: str, expected: str) -> bool:
    """Whether two outputs have the same tokens, line by line; numbers may be written otherwise."""
    ours, theirs = (_lines(text) for text in (printed, expected))
    return len(ours) == len(theirs) and all(
        len(a) == len(b) and all(_same_token(*pair) for pair in zip(a, b, strict=True))
        for a, b in zip(ours, theirs, strict=True)
    )


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().splitlines()]


def _same_token(printed: str, expected: str) -> bool:
    if printed == expected:
        return True
    try:
        return abs(float(printed) - float(expected)) <= _ATOL * max(1.0, abs(float(expected)))
    except ValueError:
        return False

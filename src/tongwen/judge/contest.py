"""Programs of contests: what they print for an input, or what their method returns.

Tests are read as LiveCodeBench keeps them (Jain et al., 2024, https://arxiv.org/abs/2403.07974), or
from the examples in a problem's own statement.
"""

import ast
import base64
import io
import json
import pickle
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from tongwen.errors import RequestError
from tongwen.judge.calls import call
from tongwen.judge.limits import Limits
from tongwen.judge.python import python
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.verdict import Verdict, ended_badly, refused

TEST_S = 6.0
"""Seconds for each test: LiveCodeBench's."""

MOST_BYTES = 256 << 20
"""Hidden tests may unpack to so much."""

_LIMITS = Limits(wall_s=TEST_S, output_bytes=16 << 20)
_SAMPLE = re.compile(
    r"Sample Input (\d+):?\n(?P<given>.*?)\n\s*Sample Output \1:?\n\s*(?P<wanted>.*?)"
    r"(?=\n\n|\nNote|\nSample Input|\Z)",
    re.DOTALL,
)
_EXAMPLE = re.compile(r"Input: (?P<given>.*?)\nOutput: (?P<wanted>[^\n]*)", re.DOTALL)
_WORDS = {"true": "True", "false": "False", "null": "None"}
_DAMAGE = (
    *(ValueError, TypeError, LookupError, SyntaxError, AttributeError, EOFError, RecursionError),
    *(zlib.error, pickle.PickleError),
)
_CALLED = "_called_by_the_judge"

_IMPORTED = (
    *("typing", "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math"),
    *("random", "statistics", "itertools", "functools", "operator", "io", "sys", "json"),
    "builtins",  # the last: others have a `pow`, an `open` or a `Counter` of their own
)
HEADER = (
    "".join(f"from {name} import *\n" for name in _IMPORTED)
    + f"import {', '.join(_IMPORTED)}\n"
    + "sys.setrecursionlimit(50_000)\n"
)
"""What a program finds imported without a word, and how deep it may call itself: LiveCodeBench's
(`lcb_runner/evaluation/testing_util.py`)."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """An input, and what is right for it."""

    given: Any
    """A text for stdin, or a list of arguments."""

    wanted: Any
    """A text for stdout, or a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases:
    """All tests of a problem."""

    tests: tuple[Case, ...]
    method: str | None
    """Of `Solution`, what is called; `None`: the program reads stdin and prints."""

    are_hidden: bool
    """Whether they are the benchmark's own; else they stand in the statement for all to read."""


def cases_of(row: Mapping[str, Any]) -> Cases:
    """The tests of a row; without those of the benchmark the examples of its statement.

    Raises:
        RequestError: There are none, or they cannot be read.
    """
    method = _method(row)
    try:
        if row.get("private_test_cases"):
            kept = json.loads(row.get("public_test_cases") or "[]")
            kept += _unpacked(row["private_test_cases"])
            tests = tuple(_kept(each, method) for each in kept)
        else:
            tests = _of_statement(row["question_content"], method)
    except _DAMAGE as error:
        raise RequestError(
            f"the tests of `{row['question_id']}` cannot be read: {error}"
        ) from error
    if not tests:
        raise RequestError(f"the problem `{row['question_id']}` comes without a test")
    return Cases(tests=tests, method=method, are_hidden=bool(row.get("private_test_cases")))


async def judge(tests: Cases, source: str, sandbox: Sandbox) -> Verdict:
    """Run a program on all tests, to the first that it fails.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    if not source.strip():
        return refused("no program was written")
    if tests.method is not None:
        return await _judge_method(tests, source, sandbox)
    for number, test in enumerate(tests.tests, 1):
        given = {"header": HEADER, "source": source, "stdin": test.given}
        outcome = await sandbox.arun(python("script", given, _LIMITS))
        if (bad := ended_badly(outcome)) is not None:
            return bad
        if not same_output(outcome.text, test.wanted):
            reason = f"test {number} of {len(tests.tests)}: printed something else"
            return Verdict(passed=False, reason=reason, outcome=outcome)
    return Verdict(passed=True, reason="passed")


async def _judge_method(tests: Cases, source: str, sandbox: Sandbox) -> Verdict:
    whole = f"{source}\n\ndef {_CALLED}(*given):\n    return Solution().{tests.method}(*given)\n"
    inputs: list[Sequence[Any]] = [test.given for test in tests.tests]
    limits_s = [TEST_S] * len(inputs)
    found = await call(
        *(whole, _CALLED, inputs, sandbox), header=HEADER, limits_s=limits_s, wall_s=sum(limits_s)
    )
    for number, (one, test) in enumerate(zip(found.calls, tests.tests, strict=True), 1):
        place = f"test {number} of {len(inputs)}"
        if one.error is not None:
            reason = f"{place}: {one.error}"
        elif _plain(one.value) != test.wanted:
            reason = f"{place}: returned something else"
        else:
            continue
        return Verdict(passed=False, reason=reason, outcome=found.outcome)
    return Verdict(passed=True, reason="passed", outcome=found.outcome)


def same_output(printed: str, wanted: str) -> bool:
    """Line by line, blanks at the ends aside; a line of numbers by their values."""
    ours, theirs = (text.strip().splitlines() for text in (printed, wanted))
    return len(ours) == len(theirs) and all(map(_same_line, ours, theirs))


def _same_line(ours: str, theirs: str) -> bool:
    return ours.strip() == theirs.strip() or (
        (numbers := _numbers(ours)) is not None and numbers == _numbers(theirs)
    )


def _numbers(line: str) -> list[Decimal] | None:
    """The values of a line of numbers in digits; `None`: there is another word in it."""
    words = line.split()
    if not all(map(_NUMBER.fullmatch, words)):
        return None
    try:
        return [Decimal(word) for word in words]
    except InvalidOperation:  # its exponent has a score of digits
        return None


def _plain(value: object) -> object:
    """Tuples as lists: in JSON they are one."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


# ---- where tests come from


def _method(row: Mapping[str, Any]) -> str | None:
    """The method that is called: named by the metadata, else by the code one starts with."""
    named = json.loads(row.get("metadata") or "{}").get("func_name")
    found = re.search(r"class Solution.*?def (\w+)\(self", row.get("starter_code") or "", re.DOTALL)
    method: str | None = named or (found[1] if found else None)
    return method


def _kept(test: Mapping[str, Any], method: str | None) -> Case:
    if method is None:
        return Case(given=test["input"], wanted=test["output"])
    given = [json.loads(line) for line in test["input"].split("\n") if line.strip()]
    return Case(given=given, wanted=json.loads(test["output"]))


def _unpacked(packed: str) -> list[Any]:
    """The hidden tests: JSON, or that as a pickled text, compressed, in base 64."""
    if packed.lstrip().startswith("["):
        return list(json.loads(packed))
    stream = zlib.decompressobj()
    data = stream.decompress(base64.b64decode(packed), MOST_BYTES)
    if stream.unconsumed_tail:
        raise ValueError(f"they unpack to more than {MOST_BYTES} bytes")
    return list(json.loads(_TextAlone(io.BytesIO(data)).load()))


class _TextAlone(pickle.Unpickler):
    """Reads a pickled text; a pickle that names a class or a function is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"they hold `{module}.{name}`, which is no text")


def _of_statement(statement: str, method: str | None) -> tuple[Case, ...]:
    text = statement.replace("\r", "")
    if method is not None:
        return tuple(
            Case(given=_arguments(found["given"]), wanted=_value(found["wanted"]))
            for found in _EXAMPLE.finditer(text)
        )
    # Some statements have a blank line after each line of the input.
    return tuple(
        Case(given=re.sub(r"\n\s*\n", "\n", found["given"]).strip() + "\n", wanted=found["wanted"])
        for found in _SAMPLE.finditer(text)
    )


def _arguments(text: str) -> list[Any]:
    """The values of `nums = [1,2], k = 3`."""
    tree = ast.parse(f"given({_as_python(text)})", mode="eval").body
    if not isinstance(tree, ast.Call):
        raise ValueError(f"`{text[:40]}` names no arguments")
    return [ast.literal_eval(each.value) for each in tree.keywords]


def _value(text: str) -> object:
    return ast.literal_eval(_as_python(text.strip()))


def _as_python(text: str) -> str:
    parts = re.split(r'("(?:[^"\\]|\\.)*")', text)
    parts[::2] = [re.sub(r"\b(true|false|null)\b", lambda m: _WORDS[m[0]], p) for p in parts[::2]]
    return "".join(parts)

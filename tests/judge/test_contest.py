"""Tests of contest problems: where they come from, and what passes them."""

import asyncio
import base64
import json
import pickle
import zlib
from collections import Counter
from pathlib import Path

import pytest

from tongwen.errors import RequestError
from tongwen.judge.benchmarks import Benchmarks
from tongwen.judge.contest import Case, Cases, cases_of, judge, same_output


def packed(value) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def row(**others):
    return {"question_id": "1", "question_content": "", "starter_code": ""} | others


def test_public_and_hidden_tests_are_one_list():
    one, two = ({"input": f"{n}", "output": f"{n}"} for n in (1, 2))
    for hidden in (json.dumps([two]), packed(json.dumps([two]))):
        found = cases_of(row(public_test_cases=json.dumps([one]), private_test_cases=hidden))
        assert [test.given for test in found.tests] == ["1", "2"]
        assert found.are_hidden


def test_arguments_of_a_method_are_one_json_value_a_line():
    hidden = json.dumps([{"input": '[1,2]\n"a"', "output": "true"}])
    found = cases_of(row(private_test_cases=hidden, metadata='{"func_name": "pick"}'))
    assert found.method == "pick"
    assert found.tests == (Case(given=[[1, 2], "a"], wanted=True),)


@pytest.mark.parametrize("hidden", ["!", packed(Counter("ab")), packed("{"), "[{}]"])
def test_what_is_no_text_in_a_pickle_is_refused(hidden):
    with pytest.raises(RequestError, match="of `1` cannot be read"):
        cases_of(row(private_test_cases=hidden))


def test_a_problem_without_tests_is_refused():
    with pytest.raises(RequestError, match="comes without a test"):
        cases_of(row(question_content="Add."))


def test_the_statements_examples_end_where_their_explanation_begins():
    one = "Sample Input 1\n\n3\r\n1 2 3\n\nSample Output 1\n\n6\r\n7\n\nIt is 6.\n\n"
    two = "Sample Input 2\n\n1\n\nSample Output 2\n\n1"
    found = cases_of(row(question_content=one + two))
    assert found.tests == (Case(given="3\n1 2 3\n", wanted="6\n7"), Case(given="1\n", wanted="1"))
    assert not found.are_hidden


@pytest.mark.parametrize(
    ("printed", "wanted", "same"),
    [
        ("1 2 \n3\n\n", "1 2\n3", True),
        ("1.0 2", "1 2.00", True),
        ("1 2", "1\n2", False),
        ("Yes", "yes", False),
        ("", "0", False),
        ("+.5e1", "5.", True),
        ("sNaN", "5", False),
        ("NaN", "nan", False),
        ("inf", "Infinity", False),
        ("1_000", "1000", False),
        ("٣", "3", False),
        ("1e999999999999999999999", "1e999999999999999999998", False),
        ("1e999999999", "10e999999998", True),
    ],
)
def test_output_is_compared_by_lines_and_numbers_by_value(printed, wanted, same):
    assert same_output(printed, wanted) is same


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("print(int(input()) + 1)", "passed"),
        ("print(2)", "test 2 of 2: printed something else"),
        ("import sys; sys.exit(3)", "failed: exit code 3"),
        ("1/0", "failed: ZeroDivisionError: division by zero"),
        ("", "no program was written"),
    ],
)
def test_a_program_passes_all_tests_or_the_first_that_it_fails_is_told(sandbox, source, reason):
    tests = Cases(
        tests=(Case(given="1\n", wanted="2"), Case(given="5\n", wanted="6")),
        method=None,
        are_hidden=True,
    )
    verdict = asyncio.run(judge(tests, source, sandbox))
    assert (verdict.reason, verdict.passed) == (reason, reason == "passed")


def test_a_method_may_return_a_tuple_where_json_has_a_list(sandbox):
    tests = Cases(tests=(Case(given=[[2, 1]], wanted=[1, 2]),), method="order", are_hidden=True)
    source = "class Solution:\n    def order(self, some: List[int]):\n        return {}\n"
    assert asyncio.run(judge(tests, source.format("tuple(sorted(some))"), sandbox)).passed
    wrong = asyncio.run(judge(tests, source.format("some"), sandbox))
    assert wrong.reason == "test 1 of 1: returned something else"


@pytest.mark.parametrize(
    "source",
    [
        "print(sum(map(int, open(0).read().split())))",
        "import os\nprint(sum(map(int, os.read(0, os.fstat(0).st_size).split())))",
        "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))",
        "print(sum(map(int, open('/dev/stdin'))))",
        "n = int(input())\nprint(n + sum(map(int, sys.stdin)))",
        "from __future__ import annotations\nprint(int(input()) + int(stdin.readline()))",
    ],
)
def test_a_program_reads_its_input_in_any_of_the_usual_ways(sandbox, source):
    tests = Cases(tests=(Case(given="4\n5\n", wanted="9"),), method=None, are_hidden=True)
    verdict = asyncio.run(judge(tests, source, sandbox))
    assert verdict.passed, verdict.reason


def test_an_input_of_megabytes_is_read_whole(sandbox):
    given = "1 " * (1 << 22)
    tests = Cases(tests=(Case(given=given, wanted=str(1 << 22)),), method=None, are_hidden=True)
    assert asyncio.run(judge(tests, "print(open(0).read().count('1'))", sandbox)).passed


USES = """
    found = [pow(3, 4, 7), bisect_left([1, 2], 2), math.gcd(4, 6), len(Counter("aab"))]
    found += [reduce(operator.add, [1, 2]), heapq.heappop([3]), re.sub("a", "", "ab"), inf > 1]
    if abs(-1) == 1 and isinstance(Counter(), dict) and sum([1, 2]) == 3 and fabs(-1.0) == 1.0:
        deep = lambda n: n and 1 + deep(n - 1)
        found.append(deep(5_000))
"""
FOUND = [4, 1, 2, 2, 3, 3, "b", True, 5_000]


def test_a_method_finds_the_usual_imports_and_the_builtins(sandbox):
    tests = Cases(tests=(Case(given=[[]], wanted=FOUND),), method="find", are_hidden=True)
    body = USES.replace("\n", "\n    ")
    future = "from __future__ import annotations\n"
    source = f"class Solution:\n    def find(self, some: List[int]):{body}\n        return found\n"
    for start in ("", future):
        verdict = asyncio.run(judge(tests, start + source, sandbox))
        assert verdict.passed, verdict.reason


def test_a_script_finds_them_too(sandbox):
    tests = Cases(tests=(Case(given="", wanted=str(FOUND)),), method=None, are_hidden=True)
    verdict = asyncio.run(judge(tests, f"if True:{USES}\nprint(found)", sandbox))
    assert verdict.passed, verdict.reason


def test_every_statement_has_examples(shared: Path):
    rows = Benchmarks(shared / "data").rows("livecodebench/questions_2023-09_2024-04_sample150")
    found = [cases_of(each) for each in rows]
    assert sum(tests.method is not None for tests in found) == 61
    assert all(tests.tests for tests in found)

"""HumanEval+ and MBPP+: values are compared outside, input by input."""

import asyncio
import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.judge.test_humaneval import broken

from tongwen.judge import evalplus
from tongwen.judge.calls import Calls, call
from tongwen.judge.evalplus import PlusVerdict, Reference
from tongwen.judge.inside import OpaqueError, decode, encode
from tongwen.judge.oracles import is_right
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.typed_inputs import typed_inputs

ROW = {
    "task_id": "Own/1",
    "entry_point": "pairs",
    "canonical_solution": "def pairs(values, more):\n    return [(v, more) for v in values]\n",
    "assertion": "assert pairs((1, 2), 0.5) == [(1, 0.5), (2, 0.5)]",
    "base_input": [[[1, 2], 0.5]],
    "plus_input": [[[], 1], [[3], 0.25], [5, 5]],
    "atol": 0,
}


def rows(path: Path) -> list[dict[str, Any]]:
    read = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in read.splitlines()]


def called(source: str, inputs: list[list[Any]], sandbox: Sandbox, limit_s: float = 5.0) -> Calls:
    limits_s = [limit_s] * len(inputs)
    return asyncio.run(call(source, "f", inputs, sandbox, limits_s=limits_s))


def held(source: str, sandbox: Sandbox) -> PlusVerdict:
    async def both() -> PlusVerdict:
        reference = await evalplus.mbpp_reference(ROW, sandbox)
        assert (len(reference.base), len(reference.plus), reference.num_dropped) == (1, 2, 1)
        return await evalplus.judge(source, reference, sandbox)

    return asyncio.run(both())


def test_all_solutions_of_mbpp_plus_pass_and_none_that_returns_nothing(
    shared: Path, sandbox: Sandbox
) -> None:
    tasks = rows(shared / "data/evalplus/MbppPlus-v0.1.0_ids_1-300.jsonl.gz")

    async def one(row: dict[str, Any]) -> tuple[Reference, PlusVerdict, PlusVerdict]:
        reference = await evalplus.mbpp_reference(row, sandbox)
        source = row["canonical_solution"]
        return (
            reference,
            await evalplus.judge(source, reference, sandbox),
            await evalplus.judge(broken(source, row["entry_point"]), reference, sandbox),
        )

    async def together() -> list[tuple[Reference, PlusVerdict, PlusVerdict]]:
        return await asyncio.gather(*(one(row) for row in tasks))

    done = asyncio.run(together())
    dropped = {
        row["task_id"]: reference.num_dropped
        for row, (reference, _, _) in zip(tasks, done, strict=True)
        if reference.num_dropped
    }
    # Its values, of up to a million tuples, are not read.
    assert list(dropped) == ["Mbpp/255"]
    assert [right.plus.reason for _, right, _ in done if not right.plus.passed] == []
    survivors = [
        row["task_id"] for row, (_, _, no) in zip(tasks, done, strict=True) if no.base.passed
    ]
    # Any value passes there, in EvalPlus too.
    assert survivors == ["Mbpp/164"]


@pytest.mark.slow
def test_humaneval_plus_keeps_the_inputs_within_the_contract(
    shared: Path, sandbox: Sandbox
) -> None:
    tasks = rows(shared / "data/evalplus/HumanEvalPlus_prerelease_2023-04.jsonl")
    first = {row["task_id"]: row for row in rows(shared / "data/humaneval/HumanEval.jsonl")}

    async def one(row: dict[str, Any]) -> tuple[Reference, PlusVerdict]:
        original = first[row["task_id"]]
        reference = await evalplus.humaneval_reference(row, original, sandbox)
        right = original["prompt"] + row["reference"]
        return reference, await evalplus.judge(right, reference, sandbox)

    async def together() -> list[tuple[Reference, PlusVerdict]]:
        return await asyncio.gather(*(one(row) for row in tasks))

    done = asyncio.run(together())
    assert sum(len(reference.plus) for reference, _ in done) == 12_307
    assert sum(not reference.plus for reference, _ in done) == 3
    assert [verdict.plus.reason for _, verdict in done if not verdict.plus.passed] == []


def test_base_and_plus_are_judged_apart(sandbox: Sandbox) -> None:
    right = held(ROW["canonical_solution"], sandbox)  # type: ignore[arg-type]
    assert (right.base.passed, right.plus.passed) == (True, True)
    half = held("def pairs(v, m):\n    return [(x, m) for x in v] if v else None", sandbox)
    assert (half.base.passed, half.plus.passed) == (True, False)
    assert half.plus.reason == "failed: plus input 0: another value"
    wrong = held("def pairs(v, m):\n    return [[x, m] for x in v]", sandbox)
    assert (wrong.base.passed, wrong.plus.passed) == (False, False)


def test_a_function_that_is_not_there_does_not_pass(sandbox: Sandbox) -> None:
    verdict = held("def other(v, m):\n    return []", sandbox)
    assert verdict.base.reason == "failed: base input 0: failed: KeyError: 'pairs'"


@pytest.mark.parametrize(
    "body",
    [
        "class Same(list):\n        def __eq__(self, other): return True\n    return Same()",
        "class Same:\n        def __eq__(self, other): return True\n    return Same()",
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "import os\n    for end in range(3, 10):\n"
        "        try: os.write(end, b'{\"value\": true}\\n')\n        except OSError: pass\n"
        "    os._exit(0)",
        "print('[(1, 0.5), (2, 0.5)]')",
    ],
)
def test_only_the_right_value_passes_for_right(body: str, sandbox: Sandbox) -> None:
    assert not held(f"def pairs(values, more):\n    {body}\n", sandbox).base.passed


def test_what_was_printed_does_not_mix_with_what_was_returned(sandbox: Sandbox) -> None:
    made = called("def f(x):\n    print('{\"value\": 0}')\n    return x\n", [[1], ["a"]], sandbox)
    assert [each.value for each in made.calls] == [1, "a"]


def test_a_call_that_takes_too_long_does_not_end_the_others(sandbox: Sandbox) -> None:
    source = (
        "def f(x):\n    while x:\n        try:\n            pass\n        except Exception: pass\n"
    )
    made = called(source, [[0], [1], [0]], sandbox, limit_s=0.2)
    assert [each.error for each in made.calls] == [None, "timed out", None]


def test_arguments_that_are_changed_are_new_in_the_next_call(sandbox: Sandbox) -> None:
    again: list[Any] = [1]
    made = called("def f(x):\n    x.append(2)\n    return x\n", [[again], [again]], sandbox)
    assert [each.value for each in made.calls] == [[1, 2], [1, 2]]
    assert again == [1]


def test_a_failure_is_that_calls_own(sandbox: Sandbox) -> None:
    made = called("def f(x):\n    return 1 / x\n", [[0], [2]], sandbox)
    assert made.calls[0].error == "ZeroDivisionError: division by zero"
    assert made.calls[1].value == 0.5


def test_values_that_are_not_plain_or_too_large_are_not_compared(sandbox: Sandbox) -> None:
    made = called(
        "def f(n):\n    return [0] * n if n else (i for i in 'ab')", [[0], [2_000_000]], sandbox
    )
    errors = [each.error for each in made.calls]
    assert errors[0] == "returned a `generator`, which is not compared"
    assert "too large" in (errors[1] or "")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary()
    | st.floats(allow_nan=False) | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner)
    | st.lists(inner).map(tuple)
    | st.dictionaries(st.text() | st.integers(), inner)
    | st.sets(st.integers() | st.text())
    | st.frozensets(st.integers()),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)
@given(plain)
def test_a_plain_value_comes_out_as_it_went_in(value: Any) -> None:
    out = decode(json.loads(json.dumps(encode(value))))
    assert out == value
    assert type(out) is type(value)
    assert repr(out) == repr(value) or isinstance(value, set | frozenset | list | tuple | dict)


def test_values_that_never_end_are_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(OpaqueError, match="too large"):
        encode(loop)
    with pytest.raises(OpaqueError, match="object"):
        encode([object()])
    with pytest.raises(ValueError, match="no kind"):
        decode({"object": 1})
    assert decode(json.loads(json.dumps(encode(10**5000)))) == 10**5000
    assert math.isnan(decode(json.loads(json.dumps(encode(math.nan)))))


def test_types_of_inputs_are_those_of_the_asserts() -> None:
    row = {
        "entry_point": "f",
        "assertion": "assert f([(1, 2)], {1, 2}, 3, {'a': (1,)}) == 1\n"
        "assert 2 == f([], {}, 1j, {})",
    }
    inputs = [[[[1, 2], []], [1], "2+1j", {"b": [2]}], [[], [], 5, {}], [[[3]], [], "x", {}]]
    typed = typed_inputs(row, inputs)
    assert typed[0] == [[(1, 2), ()], {1}, 2 + 1j, {"b": (2,)}]
    assert typed[1] == [[], {}, 5, {}]
    assert typed[2] == [[(3,)], {}, "x", {}]


@pytest.mark.parametrize(
    ("entry_point", "arguments", "value", "expected", "atol", "right"),
    [
        ("f", [], 1, 1, 0, True),
        ("f", [], 1, 2, 0, False),
        ("f", [], 1.0 + 1e-9, 1.0, 0, True),
        ("f", [], 1.001, 1.0, 0, False),
        ("f", [], [1.0, 2.0 + 1e-8], [1.0, 2.0], 0, True),
        ("f", [], (1.0 + 1e-8,), [1.0], 0, False),
        ("f", [], [1.0], [1.0, 2.0], 0, False),
        ("f", [], "1.0", 1.0, 0, False),
        ("f", [], None, 1.0, 0.1, False),
        ("f", [], 1.05, 1.0, 0.1, True),
        ("similar_elements", [], [2, 1, 1], (1, 2), 0, True),
        ("similar_elements", [], None, (1, 2), 0, False),
        ("text_match_three", [], "found", True, 0, True),
        ("text_match_three", [], None, True, 0, False),
        ("text_match_three", [], False, False, 0, True),
        ("are_equivalent", [1, 2], "anything", True, 0, True),
        ("sum_div", [4], 0, 3, 0, True),
        ("sum_div", [4], 1, 3, 0, False),
        ("surface_Area", [3, 4], 9 + 6 * math.sqrt(18.25), 33, 1e-6, True),
        ("surface_Area", [3, 4], 32, 33, 1e-6, False),
        ("digit_distance_nums", [23, 56], 6, 0, 0, True),
        ("digit_distance_nums", [123, 56], 7, 0, 0, True),
        ("find_zero", [[-2, 1]], 2.0, 0.0, 1e-4, True),
        ("find_zero", [[-2, 1]], 2.1, 2.0, 1e-4, False),
        ("find_zero", [[-2, 1]], None, 2.0, 1e-4, False),
    ],
)
def test_an_output_is_right_as_evalplus_sees_it(
    *, entry_point: str, arguments: list[Any], value: Any, expected: Any, atol: float, right: bool
) -> None:
    assert is_right(entry_point, arguments, value, expected, float(atol)) is right

"""TheoremQA's answers by type."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tongwen.errors import ConfigError
from tongwen.judge.symbolic import Symbolic
from tongwen.judge.theorems import Theorems, listed, number_in

pytest.importorskip("math_verify", reason="comparing formulas needs `math_verify`")


@pytest.fixture(scope="module")
def judge() -> Iterator[Theorems]:
    with Symbolic(time_limit_s=2.0) as symbolic:
        yield Theorems(symbolic)


CASES: list[tuple[str, Any, str, bool]] = [
    ("So. The answer is True.", True, "bool", True),
    ("The answer is yes", True, "bool", True),
    ("The answer is no", True, "bool", False),
    ("The answer is False", False, "bool", True),
    ("Therefore it holds", True, "bool", False),
    ("The answer is (c)", "(c)", "option", True),
    ("The answer is C.", "(c)", "option", True),
    ("The answer is (d)", "(c)", "option", False),
    ("The answer is 11760", 11760, "integer", True),
    ("The answer is 11,760 ways.", 11760, "integer", True),
    ("The answer is 11761", 11760, "integer", False),
    ("The answer is -36", -36, "integer", True),
    ("The answer is 36", -36, "integer", False),
    ("The answer is x = 5", 5, "integer", True),
    ("The answer is 5!", 120, "integer", True),
    ("\\boxed{2^{10}}", 1024, "integer", True),
    ("The answer is 833.33", 833.33, "float", True),
    ("The answer is 840 frames", 833.33, "float", True),
    ("The answer is 900", 833.33, "float", False),
    ("The answer is 4 \\times 10^{-5}", 4e-05, "float", True),
    ("The answer is 4e-5 m", 4e-05, "float", True),
    ("The answer is \\frac{1}{3}", 0.333, "float", True),
    ("The answer is -\\frac{\\pi}{3}", -1.047, "float", True),
    ("The answer is \\sqrt{2}", 1.0, "float", False),
    ("The answer is [3.33, 1.33]", [3.33, 1.33], "list of float", True),
    ("The answer is (3.4, 1.3)", [3.33, 1.33], "list of float", True),
    ("The answer is [1.33, 3.33]", [3.33, 1.33], "list of float", False),
    ("The answer is [0, 5]", [0, 5], "list of integer", True),
    ("The answer is [0, 5, 1]", [0, 5], "list of integer", False),
    ("The answer is 5", [0, 5], "list of integer", False),
    ("", 5, "integer", False),
    ("I do not know", 5, "integer", False),
]


@pytest.mark.parametrize(("completion", "gold", "kind", "right"), CASES)
def test_an_answer_is_judged_by_its_type(
    judge: Theorems, completion: str, gold: Any, kind: str, right: bool
) -> None:
    assert judge.right(completion, gold, kind) is right


def test_an_unknown_type_is_refused(judge: Theorems) -> None:
    with pytest.raises(ConfigError, match="no answer of the type `poem`"):
        judge.right("5", 5, "poem")
    with pytest.raises(ConfigError, match="no answer of the type `integer`"):
        judge.right("5", "five", "integer")


def test_numbers_are_read_in_all_their_dress() -> None:
    assert number_in("x = 1.5 \\text{ m}") == 1.5
    assert number_in("≈ 3,000 km") == 3000
    assert number_in("2 * 10^3") == 2000
    assert number_in("2^3") is None
    assert number_in("\\sqrt{2}") is None
    assert number_in("") is None
    assert listed("so [1, 2] and then (3, 4)") == ["3", "4"]
    assert listed("5") is None


def test_every_gold_is_right_and_every_other_value_wrong(judge: Theorems, shared: Path) -> None:
    lines = (shared / "data/theoremqa/test.jsonl").read_text("utf-8").splitlines()
    for line in lines:
        row = json.loads(line)
        gold, kind = row["Answer"], row["Answer_type"]
        assert judge.right(f"Hence.\nThe answer is {gold}.", gold, kind), (gold, kind)
        assert judge.right(f"Hence $\\boxed{{{gold}}}$", gold, kind), (gold, kind)
        assert not judge.right(f"The answer is {other(gold)}", gold, kind), (gold, kind)


def other(gold: Any) -> Any:
    if isinstance(gold, bool):
        return not gold
    if isinstance(gold, str):
        return "(f)" if gold != "(f)" else "(a)"
    if isinstance(gold, list):
        return [*gold[:-1], abs(gold[-1]) * 2 + 1]
    return abs(gold) * 2 + 1 if gold else 7

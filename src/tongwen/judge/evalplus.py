"""HumanEval+ and MBPP+ (Liu et al., 2023, https://arxiv.org/abs/2305.01210): many more inputs.

A completion is right where it returns what the reference returns, on the benchmark's own inputs
(base) and on EvalPlus's (plus).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tongwen.judge.calls import Call, call
from tongwen.judge.humaneval import completed
from tongwen.judge.oracles import is_right
from tongwen.judge.outcome import Outcome
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.typed_inputs import typed_inputs
from tongwen.judge.verdict import Verdict, refused

Row = Mapping[str, Any]

_LEAST_S, _REFERENCE_FACTOR, _REFERENCE_S, _REFERENCE_WALL_S = 4.0, 4.0, 10.0, 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What a task's own solution returns: made once, and every completion held to it."""

    entry_point: str
    """The function's name."""

    atol: float
    """How far numbers may differ."""

    base: list[tuple[list[Any], Call]]
    """The benchmark's own inputs, and what came of each."""

    plus: list[tuple[list[Any], Call]]
    """EvalPlus's."""

    num_dropped: int
    """Inputs that the task's contract refuses, or its own solution fails on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlusVerdict:
    """Two verdicts on one completion."""

    base: Verdict
    """On the benchmark's own inputs."""

    plus: Verdict
    """On those and on EvalPlus's."""


async def humaneval_reference(row: Row, original: Row, sandbox: Sandbox) -> Reference:
    """What the solution of one HumanEval+ task returns.

    Args:
        row: A line of HumanEval+: `contract`, `reference`, `base_input`, `plus_input`, `atol`.
        original: The line of HumanEval of the same task.
        sandbox: Where it runs.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    source = original["prompt"] + row["contract"] + row["reference"]
    inputs = (row["base_input"], row["plus_input"])
    return await _reference(source, original["entry_point"], inputs, float(row["atol"]), sandbox)


async def mbpp_reference(row: Row, sandbox: Sandbox) -> Reference:
    """What the solution of one MBPP+ task returns.

    Args:
        row: A line of MBPP+: `canonical_solution`, `entry_point`, `assertion`, `base_input`,
            `plus_input`, `atol`.
        sandbox: Where it runs.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    inputs = (typed_inputs(row, row["base_input"]), typed_inputs(row, row["plus_input"]))
    source = row["canonical_solution"]
    return await _reference(source, row["entry_point"], inputs, float(row["atol"]), sandbox)


async def _reference(
    source: str,
    entry_point: str,
    inputs: tuple[list[Any], list[Any]],
    atol: float,
    sandbox: Sandbox,
) -> Reference:
    given = [*inputs[0], *inputs[1]]
    limits_s = [_REFERENCE_S] * len(given)
    made = await call(
        source, entry_point, given, sandbox, limits_s=limits_s, wall_s=_REFERENCE_WALL_S
    )
    pairs = list(zip(given, made.calls, strict=True))
    base, plus = pairs[: len(inputs[0])], pairs[len(inputs[0]) :]
    kept = [[pair for pair in part if pair[1].error is None] for part in (base, plus)]
    return Reference(
        entry_point=entry_point,
        atol=atol,
        base=kept[0],
        plus=kept[1],
        num_dropped=len(pairs) - len(kept[0]) - len(kept[1]),
    )


async def judge_humaneval(
    original: Row, completion: str, reference: Reference, sandbox: Sandbox
) -> PlusVerdict:
    """Hold a completion of a HumanEval task to its reference.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    return await judge(completed(original, completion, "helpers"), reference, sandbox)


async def judge(source: str, reference: Reference, sandbox: Sandbox) -> PlusVerdict:
    """Hold a function to its reference, input by input.

    Args:
        source: Python that defines it.
        reference: What it should return.
        sandbox: Where it runs.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    pairs = [*reference.base, *reference.plus]
    if not reference.base:
        nothing = refused("the task's own solution does not run on any of its inputs")
        return PlusVerdict(base=nothing, plus=nothing)
    limits_s = [max(_LEAST_S, _REFERENCE_FACTOR * right.seconds) for _, right in pairs]
    inputs = [arguments for arguments, _ in pairs]
    made = await call(source, reference.entry_point, inputs, sandbox, limits_s=limits_s)
    faults = [
        _fault(reference, arguments, one, right)
        for (arguments, right), one in zip(pairs, made.calls, strict=True)
    ]
    base = _verdict("base", faults[: len(reference.base)], made.outcome)
    plus = _verdict("plus", faults[len(reference.base) :], made.outcome)
    return PlusVerdict(base=base, plus=plus if base.passed else base)


def _fault(reference: Reference, arguments: list[Any], one: Call, right: Call) -> str | None:
    """What is wrong with one call, if anything is."""
    if one.error is not None:
        return one.error
    name, atol = reference.entry_point, reference.atol
    return None if is_right(name, arguments, one.value, right.value, atol) else "another value"


def _verdict(what: str, faults: list[str | None], outcome: Outcome) -> Verdict:
    for place, fault in enumerate(faults):
        if fault is not None:
            reason = fault if fault == "timed out" else f"failed: {what} input {place}: {fault}"
            return Verdict(passed=False, reason=reason, outcome=outcome)
    return Verdict(passed=True, reason="passed", outcome=outcome)

"""A function of a stranger's, called on many inputs; what it returns is looked at outside.

The sandbox gets the inputs and never what is right, so nothing in it can pass for right but a
right value.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tongwen.judge.inside import decode, encode
from tongwen.judge.limits import Limits
from tongwen.judge.outcome import Outcome
from tongwen.judge.python import python
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.verdict import ended_badly

_START_S = 2.0
_LIMITS = Limits(memory_bytes=4 << 30, output_bytes=64 << 20)


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What came of one call."""

    value: Any = None
    """What it returned, where `error` is `None`."""

    seconds: float = 0.0
    """Time it took, as the program measured it."""

    error: str | None = None
    """Why there is no value."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What came of all calls, in the order of the inputs."""

    calls: list[Call]
    """One for each input."""

    outcome: Outcome
    """How the program ended; what it wrote is taken out."""


async def call(
    source: str,
    entry_point: str,
    inputs: Sequence[Sequence[Any]],
    sandbox: Sandbox,
    *,
    header: str = "",
    limits_s: Sequence[float],
    wall_s: float = 60.0,
) -> Calls:
    """Call a function on inputs of plain values.

    Args:
        source: Python that defines it.
        entry_point: Its name.
        inputs: Arguments of each call.
        sandbox: Where.
        header: Python that is run before it, in the same module.
        limits_s: Seconds for each call.
        wall_s: Seconds for all, at most.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    given = {
        "header": header,
        "source": source,
        "entry_point": entry_point,
        "inputs": [encode(list(arguments)) for arguments in inputs],
        "limits_s": list(limits_s),
    }
    limits = replace(_LIMITS, wall_s=min(wall_s, sum(limits_s)) + _START_S)
    outcome = await sandbox.arun(python("outputs", given, limits))
    calls = [_read(line) for line in outcome.stdout.split(b"\n")[: len(inputs)] if line]
    bad = ended_badly(outcome)
    missing = Call(error=bad.reason if bad else "ended before its last call")
    calls += [missing] * (len(inputs) - len(calls))
    return Calls(calls, replace(outcome, stdout=b""))


def _read(line: bytes) -> Call:
    """One line of `inside.py`, or whatever a stranger has put in its place."""
    try:
        told = json.loads(line)
        if "value" in told:
            return Call(value=decode(told["value"]), seconds=float(told["seconds"]))
        if "opaque" in told:
            return Call(error=f"returned a `{told['opaque']}`, which is not compared")
        return Call(error=str(told["error"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return Call(error="returned what cannot be read")

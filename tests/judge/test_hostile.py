"""What a completion can do to those who judge it: nothing but be wrong."""

import math
import sys
import time

import pytest

from tongwen.judge import host
from tongwen.judge.limits import Limits
from tongwen.judge.oracles import is_right
from tongwen.judge.program import Program
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.sanitize import longest_python, sanitize

HUGE = [1e200, math.inf, -math.inf, math.nan, 10**400, -(10**400)]


@pytest.mark.parametrize("value", HUGE)
def test_a_number_that_is_too_large_to_be_looked_at_is_not_right(value: float) -> None:
    assert not is_right("find_zero", [[1, 2, 3, 4]], value, -0.5, 0.0)
    assert not is_right("mean", [[1.0]], [value], [1.0], 1e-6)
    assert not is_right("surface_Area", [3, 4], value, 33.0, 1e-6)


@pytest.mark.parametrize("text", ["(\n" * 5_000, "a b\n" * 5_000, "[\n1,\n" * 3_000])
def test_a_text_of_which_nothing_is_python_is_given_up_soon(text: str) -> None:
    started = time.perf_counter()
    assert sanitize(text) in ("", "1,")
    assert time.perf_counter() - started < 20


def test_python_behind_much_that_is_none_is_still_found() -> None:
    program = "def f(x):\n    return x"
    assert longest_python("words, and more words\n" * 50 + program) == program


@pytest.mark.skipif(sys.platform != "linux", reason="memory without a name is Linux's")
def test_memory_behind_a_descriptor_cannot_be_had(sandbox: Sandbox) -> None:
    code = "import os; os.write(os.memfd_create('m'), bytes(1 << 20)); print('kept')"
    python = host.interpreter()
    outcome = sandbox.run(
        Program(argv=[*python.argv, "-c", code], env=python.env, limits=Limits(wall_s=10))
    )
    assert "kept" not in outcome.text
    assert outcome.status != 0

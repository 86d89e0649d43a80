"""MBPP (Austin et al., 2021, https://arxiv.org/abs/2108.07732): functions and asserts."""

from collections.abc import Mapping
from typing import Any

from tongwen.judge.limits import Limits
from tongwen.judge.python import passes
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.verdict import Verdict

LIMITS = Limits(wall_s=10.0)


def program(row: Mapping[str, Any], completion: str) -> str:
    """The completion, what its tests need, and the tests.

    Args:
        row: A line of the benchmark: `test_setup_code`, `test_list`.
        completion: The function, with all it needs.
    """
    return "\n".join([row["test_setup_code"], completion, *row["test_list"], ""])


async def judge(row: Mapping[str, Any], completion: str, sandbox: Sandbox) -> Verdict:
    """Run the row's tests on a completion.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    return await passes(program(row, completion), sandbox, LIMITS)

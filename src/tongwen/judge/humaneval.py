"""HumanEval (Chen et al., 2021, https://arxiv.org/abs/2107.03374): functions and their tests."""

from collections.abc import Mapping
from typing import Any

from tongwen.judge.limits import Limits
from tongwen.judge.python import passes
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.verdict import Verdict

LIMITS = Limits(wall_s=10.0)


def program(row: Mapping[str, Any], completion: str) -> str:
    """The completed function, its test, and the call of it.

    Args:
        row: A line of the benchmark: `prompt`, `entry_point`, `test`.
        completion: What follows the prompt, or the whole function anew; then it stands behind
            the prompt's imports alone.
    """
    return f"{completed(row, completion)}\n{row['test']}\ncheck({row['entry_point']})\n"


def completed(row: Mapping[str, Any], completion: str) -> str:
    """The function without its test, after what of the prompt it needs."""
    prompt: str = row["prompt"]
    if f"def {row['entry_point']}(" in completion:
        return prompt.partition("def ")[0] + completion
    return prompt + completion


async def judge(row: Mapping[str, Any], completion: str, sandbox: Sandbox) -> Verdict:
    """Run the row's test on a completion.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    return await passes(program(row, completion), sandbox, LIMITS)

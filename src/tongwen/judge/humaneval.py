"""HumanEval (Chen et al., 2021, https://arxiv.org/abs/2107.03374): functions and their tests."""

from collections.abc import Mapping
from typing import Any, Literal

from tongwen.judge.limits import Limits
from tongwen.judge.python import passes
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.verdict import Verdict

LIMITS = Limits(wall_s=10.0)


Form = Literal["imports", "helpers", "continued"]
"""Where a completion stands that defines the whole function anew: behind the prompt's imports alone
(as Qwen2.5-Coder's scores were measured), behind its helper functions too, or behind all of it."""


def program(row: Mapping[str, Any], completion: str, form: Form = "imports") -> str:
    """The completed function, its test, and the call of it.

    Args:
        row: A line of the benchmark: `prompt`, `entry_point`, `test`.
        completion: What follows the prompt, or the whole function anew.
        form: Where the latter stands.
    """
    return f"{completed(row, completion, form)}\n{row['test']}\ncheck({row['entry_point']})\n"


def completed(row: Mapping[str, Any], completion: str, form: Form = "imports") -> str:
    """The function without its test, after what of the prompt it needs."""
    prompt, head = row["prompt"], f"def {row['entry_point']}("
    if form == "continued" or head not in completion:
        return f"{prompt}{completion}"
    return prompt.partition("def " if form == "imports" else head)[0] + completion


async def judge(
    row: Mapping[str, Any], completion: str, sandbox: Sandbox, form: Form = "imports"
) -> Verdict:
    """Run the row's test on a completion.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    return await passes(program(row, completion, form), sandbox, LIMITS)

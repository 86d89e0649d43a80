"""Python programs for the sandbox."""

import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from tongwen.judge import host
from tongwen.judge.limits import Limits
from tongwen.judge.outcome import Outcome
from tongwen.judge.program import Program
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.verdict import Verdict, ended_badly

_INSIDE = Path(__file__).with_name("inside.py")


def python(mode: str, given: dict[str, Any], limits: Limits) -> Program:
    """A program that runs Python as `inside.py` says.

    Args:
        mode: Which of its three ways.
        given: What that one needs.
        limits: Its bounds.
    """
    interpreter = host.interpreter()
    return Program(
        argv=[*interpreter.argv, "inside.py", mode],
        files={"inside.py": _INSIDE.read_text(encoding="utf-8")},
        stdin=json.dumps(given).encode(),
        env=interpreter.env,
        limits=limits,
    )


async def passes(source: str, sandbox: Sandbox, limits: Limits) -> Verdict:
    """Whether Python, with its tests in it, runs to its last line.

    Raises:
        SandboxError: The sandbox could not be made.
    """
    token = secrets.token_hex(16)
    given = {"source": source, "token": token}
    outcome = await sandbox.arun(python("asserts", given, limits))
    return _verdict(outcome, token)


def _verdict(outcome: Outcome, token: str) -> Verdict:
    if (bad := ended_badly(outcome)) is not None:
        return bad
    if not outcome.stdout.endswith(token.encode()):
        return Verdict(passed=False, reason="ended before its tests did", outcome=outcome)
    # The token is nobody's business any more, and would make equal outcomes differ.
    told = replace(outcome, stdout=outcome.stdout.removesuffix(token.encode()))
    return Verdict(passed=True, reason="passed", outcome=told)

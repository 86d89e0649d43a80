"""MultiPL-E (Cassano et al., 2022, https://arxiv.org/abs/2208.08227): HumanEval in 8 languages."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tongwen.judge.languages import LANGUAGES
from tongwen.judge.limits import Limits
from tongwen.judge.outcome import Outcome
from tongwen.judge.programs import NOT_COMPILED, build, with_end
from tongwen.judge.python import passes
from tongwen.judge.rewritten import rewritten
from tongwen.judge.sandbox import Sandbox
from tongwen.judge.verdict import Verdict, ended_badly

_PYTHON_LIMITS = Limits(wall_s=10.0)


def cut(completion: str, stop_tokens: Sequence[str]) -> str:
    """The completion up to the first of the texts that end it."""
    places = [place for stop in stop_tokens if (place := completion.find(stop)) >= 0]
    return completion[: min(places, default=len(completion))]


def program(row: Mapping[str, Any], completion: str) -> str:
    """The prompt, the completion up to where it ends, the tests.

    Args:
        row: A line of the benchmark: `prompt`, `tests` (Python's: `test`), `stop_tokens` (if any).
        completion: What follows the prompt.
    """
    tests = row["tests"] if "tests" in row else row["test"]
    return f"{row['prompt']}{cut(completion, row.get('stop_tokens', ()))}\n{tests}"


async def judge(
    row: Mapping[str, Any],
    completion: str,
    language: str,
    sandbox: Sandbox,
    *,
    may_be_whole: bool = False,
) -> Verdict:
    """Compile and run a completion with its tests.

    A statement behind the tests prints what nobody knew before: to exit early is not to pass.
    TypeScript's types count: what its compiler refuses fails.

    Args:
        row: A line of the benchmark.
        completion: What follows its prompt.
        language: One of `LANGUAGES`.
        sandbox: Where it runs.
        may_be_whole: Whether the completion may also define the whole function anew.

    Raises:
        DependencyError: A program that this language takes is not here.
        SandboxError: The sandbox could not be made.
    """
    whole = rewritten(row, completion, language) if may_be_whole else None
    source = whole or program(row, completion)
    if language == "py":
        return await passes(source, sandbox, _PYTHON_LIMITS)
    token, spoken = secrets.token_hex(16), LANGUAGES[language]
    outcome = await sandbox.arun(build(spoken, with_end(spoken, source, token)))
    return _verdict(outcome, token)


def _verdict(outcome: Outcome, token: str) -> Verdict:
    if outcome.status == NOT_COMPILED:
        reason = f"not compiled: {_first_error(outcome)}"
        return Verdict(passed=False, reason=reason, outcome=outcome)
    if (bad := ended_badly(outcome)) is not None:
        return bad
    if not outcome.stdout.rstrip().endswith(token.encode()):
        return Verdict(passed=False, reason="ended before its tests did", outcome=outcome)
    if b"System.Diagnostics.Debug.Assert" in outcome.stderr:
        return Verdict(passed=False, reason="failed: Debug.Assert", outcome=outcome)
    told = replace(outcome, stdout=outcome.stdout.replace(token.encode(), b""))
    return Verdict(passed=True, reason="passed", outcome=told)


def _first_error(outcome: Outcome) -> str:
    """The first line of what a compiler says that names an error."""
    lines = outcome.stderr.decode("utf-8", "replace").splitlines()
    named = [line.strip() for line in lines if "error" in line]
    return (named[0] if named else outcome.complaint)[:200]

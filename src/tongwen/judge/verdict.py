"""What a judge finds."""

from dataclasses import dataclass

from tongwen.judge.outcome import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a completion does what was asked, and why not."""

    passed: bool
    """Whether every test passed."""

    reason: str
    """`passed`, or in one line what went wrong."""

    outcome: Outcome | None = None
    """How the program ended; `None` where none was run."""


def refused(reason: str) -> Verdict:
    """The verdict on what cannot even be run."""
    return Verdict(passed=False, reason=reason)


def ended_badly(outcome: Outcome) -> Verdict | None:
    """The verdict on a program that did not come to its end by itself, with exit code 0."""
    if outcome.is_success:
        return None
    if outcome.is_late:
        reason = "timed out"
    elif outcome.ended_by != "exit":
        reason = f"ended for its use of {outcome.ended_by}"
    else:
        reason = f"failed: {outcome.complaint or f'exit code {outcome.status}'}"
    return Verdict(passed=False, reason=reason, outcome=outcome)

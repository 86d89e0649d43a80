"""How a program ended."""

from dataclasses import dataclass
from typing import Literal

EndedBy = Literal["exit", "time", "output", "memory", "files", "stop"]
"""Itself, one of its limits, or whoever waited for it and no longer does."""

_SIGXCPU = 128 + 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a program left behind."""

    status: int | None
    """Its exit code, 128 and the number where a signal ended it; `None` where a limit did."""

    stdout: bytes
    """What it printed, up to the limit."""

    stderr: bytes
    """What it complained of, up to the limit."""

    is_truncated: bool
    """Whether it printed more than is kept here."""

    wall_s: float
    """Seconds from the start of the sandbox to its end."""

    ended_by: EndedBy
    """What ended it."""

    @property
    def text(self) -> str:
        """Its stdout as text; what is no UTF-8 is replaced."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def complaint(self) -> str:
        """The last line of its stderr that names an error, or its last line at all; shortened."""
        lines = self.stderr.decode("utf-8", "replace").strip().splitlines()
        named = [line for line in lines if "Error" in line or "Exception" in line]
        return (named or lines)[-1].strip()[:200] if lines else ""

    @property
    def is_success(self) -> bool:
        """Whether it ended by itself, with exit code 0."""
        return self.status == 0

    @property
    def is_late(self) -> bool:
        """Whether its time was up: on the wall, or on the processor."""
        return self.ended_by == "time" or self.status == _SIGXCPU

"""How a contender's process is asked: a line of work on stdin, a line of numbers on stdout.

Only the standard library is used: these files run in the contenders' own environments.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping

DECODE, PREFILL, SHORT = 64, 512, 16
"""Tokens decoded after a short prompt, of a long prompt, and of that short one."""

CROWD, CROWD_PROMPT, CROWD_OUTPUT = 32, 128, 64
"""Requests at once, with tokens of each prompt and completion."""


def token_ids(count: int, other: int = 0) -> list[int]:
    """Ordinary ids, the same ones each time; others for each `other`."""
    return [(i * 7919 + other * 104_729 + 11) % 100_000 for i in range(count)]


def crowd() -> list[list[int]]:
    """A prompt for each request."""
    return [token_ids(CROWD_PROMPT, 2 + i) for i in range(CROWD)]


def quiet_stdout() -> int:
    """Send what libraries print to stderr; returns the real stdout."""
    real = os.dup(1)
    os.dup2(2, 1)
    return real


def answer(works: Mapping[str, Callable[[], object]], out: int) -> None:
    """Say that all is loaded, then do what is asked until stdin ends."""
    _say(out, sorted(works))
    for line in sys.stdin:
        _say(out, works[line.strip()]())


def _say(out: int, value: object) -> None:
    os.write(out, (json.dumps(value) + "\n").encode())

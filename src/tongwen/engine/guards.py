"""Guards: they watch a completion and end what has gone astray."""

import unicodedata
from collections import deque
from collections.abc import Sequence

from tongwen.engine.completion import FinishReason
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Guard
from tongwen.errors import RequestError

LONGEST_LOOP = 64
"""Tokens; what repeats in a longer rhythm is not recognised."""

LEAST_REPEATED = 48
"""Tokens that must repeat what came one period before."""

LEAST_ROUNDS = 4
"""Times that a period must have come."""


class LoopGuard:
    """Ends a completion whose last tokens repeat themselves.

    For each period up to `LONGEST_LOOP` it counts how many tokens in a row were the one that came a
    period before; a count is kept current in one comparison a period and token.
    """

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=LONGEST_LOOP)  # the newest first
        self._runs = [0] * (LONGEST_LOOP + 1)

    def push(self, token_id: int, text: str) -> FinishReason | None:
        """Take note of a token."""
        found = False
        for period, earlier in enumerate(self._recent, start=1):
            run = self._runs[period] + 1 if earlier == token_id else 0
            self._runs[period] = run
            found |= run >= max(LEAST_REPEATED, (LEAST_ROUNDS - 1) * period)
        self._recent.appendleft(token_id)
        return "loop" if found else None


SCRIPTS = {
    "Latin": ("LATIN",),
    "Han": ("CJK", "KANGXI", "IDEOGRAPHIC", "BOPOMOFO"),
    "Cyrillic": ("CYRILLIC",),
    "Greek": ("GREEK",),
    "Arabic": ("ARABIC",),
    "Hebrew": ("HEBREW",),
    "Devanagari": ("DEVANAGARI",),
    "Thai": ("THAI",),
    "Hangul": ("HANGUL",),
    "Kana": ("HIRAGANA", "KATAKANA"),
}
"""Scripts by the first words of their letters' Unicode names."""


class LanguageGuard:
    """Ends a completion that writes letters of another script than was asked for.

    A few foreign letters are let pass: names and formulas have them.

    Args:
        scripts: Names of `SCRIPTS`.
        patience: Foreign letters before the end.

    Raises:
        RequestError: A script is unknown.
    """

    def __init__(self, scripts: Sequence[str], patience: int = 8) -> None:
        if unknown := sorted(set(scripts) - set(SCRIPTS)):
            raise RequestError(f"unknown script `{unknown[0]}`; known are {', '.join(SCRIPTS)}")
        self._known = tuple(word for script in scripts for word in SCRIPTS[script])
        self._patience = patience

    def push(self, token_id: int, text: str) -> FinishReason | None:
        """Take note of text."""
        self._patience -= sum(self._is_foreign(letter) for letter in text)
        return "language" if self._patience < 0 else None

    def _is_foreign(self, letter: str) -> bool:
        return letter.isalpha() and not unicodedata.name(letter, "").startswith(self._known)


def guards_for(params: SamplingParams) -> list[Guard]:
    """The guards that a request asks for.

    Raises:
        RequestError: A script is unknown.
    """
    guards: list[Guard] = [LoopGuard()] if params.loop_guard else []
    return [*guards, LanguageGuard(params.language_guard)] if params.language_guard else guards

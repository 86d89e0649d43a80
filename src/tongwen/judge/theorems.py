"""TheoremQA: an answer judged by the type that its row names.

The official rules (TIGER-AI-Lab/TheoremQA, described in the data's README): a truth value or an
option must be the same; an integer must be met after rounding; a float within a relative 4 %, so
also the numbers of a list.
"""

import math
import re
from collections.abc import Sequence

from tongwen.errors import ConfigError
from tongwen.judge.answers import number, plain_digits
from tongwen.judge.equality import value
from tongwen.judge.mathematics import extract, normalise
from tongwen.judge.symbolic import Symbolic

TOLERANCE = 0.04

Gold = bool | int | float | str | list[int] | list[float] | list[int | float]


class Theorems:
    """Judges TheoremQA's completions.

    Args:
        symbolic: Gives the value of what is no plain number.
    """

    def __init__(self, symbolic: Symbolic) -> None:
        self._symbolic = symbolic

    def right(self, completion: str, gold: Gold, kind: str) -> bool:
        """Whether `completion` ends on `gold`.

        Args:
            completion: A whole solution, or what stands behind "The answer is".
            gold: The row's `Answer`.
            kind: Its `Answer_type`.

        Raises:
            ConfigError: `kind` is unknown, or `gold` is not of that kind.
            UndecidedError: What a formula comes to cannot be told in time.
            DependencyError: sympy is needed and not installed.
        """
        said = final(completion)
        if kind == "bool" and isinstance(gold, bool):
            return truth(said) is gold
        if kind == "option" and isinstance(gold, str):
            return option(said) == option(gold)
        if kind in ("integer", "float") and isinstance(gold, int | float):
            return self._same_number(said, gold, whole=kind == "integer")
        if kind in ("list of integer", "list of float") and isinstance(gold, list):
            return self._same_list(said, gold, whole=kind == "list of integer")
        raise ConfigError(f"`{gold!r}` is no answer of the type `{kind}`")

    def _same_number(self, said: str, gold: int | float, *, whole: bool) -> bool:
        found = number_in(said)
        if found is None and said:
            found = self._symbolic.value(normalise(said))
        if found is None or not math.isfinite(found):
            return False
        return round(found) == gold if whole else math.isclose(found, gold, rel_tol=TOLERANCE)

    def _same_list(self, said: str, gold: Sequence[int | float], *, whole: bool) -> bool:
        parts = listed(said)
        if parts is None or len(parts) != len(gold):
            return False
        return all(
            self._same_number(part, one, whole=whole) for part, one in zip(parts, gold, strict=True)
        )


def final(completion: str) -> str:
    r"""What follows the last "answer is", else the last `\boxed{}`, else the last line."""
    if re.search(r"answer is|boxed|答案是", completion):
        return extract(completion)
    lines = completion.strip().splitlines()
    return lines[-1].strip() if lines else ""


def truth(said: str) -> bool | None:
    """The truth value that `said` begins with or is, or None."""
    match = re.search(r"\b(?:(true|yes|correct)|(false|no|not|incorrect))\b", said.lower())
    return None if match is None else bool(match[1])


def option(said: str) -> str | None:
    """The small letter of the option in `said`, in brackets or alone, or None."""
    match = re.search(r"\(([a-f])\)", said.lower()) or re.search(r"\b([a-f])\b", said.lower())
    return match[1] if match else None


def number_in(said: str) -> float | None:
    """The number that `said` is, or gives behind its last `=` or `≈`, with a unit or not; or None.

    Scientific notation is read in all its forms.  A formula is not: that is sympy's.
    """
    text = re.split(r"=|≈|\\approx", plain_digits(said))[-1].strip(" $")
    text = re.sub(r"\s*(?:\\times|×|\*|x)\s*10\s*\^\s*\{?\s*([-+]?\d{1,3})(?:\s*\})?", r"e\1", text)
    scientific = re.match(r"[-+]?[\d.]+e[-+]?\d+\b", text)
    known = value(scientific[0]) if scientific else value(normalise(text))
    if known is not None:
        return known
    plain = number(text)
    return None if plain is None or "\\" in text or "!" in text else float(plain)


def listed(said: str) -> list[str] | None:
    """The elements of the last list in `said`, or None."""
    found = re.findall(r"[\[({]([^\[\](){}]*,[^\[\](){}]*)[\])}]", said)
    found = found or re.findall(r"\[([^\[\]]*)\]", said)
    inside = found[-1] if found else said if "," in said else None
    return None if inside is None else [part.strip() for part in inside.split(",")]

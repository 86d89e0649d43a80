"""Whether two mathematical answers are the same, as Qwen2.5-Math's grader decides.

In order (`evaluation/grader.py`): the same string, the same choice, numbers within a relative 1e-4
or that times or over 100, tuples, lists and matrices element by element, equations, and last sympy,
in a process of its own.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial

from tongwen.judge.answers import MAX_DIGITS, plain_digits
from tongwen.judge.choices import picked
from tongwen.judge.mathematics import normalise
from tongwen.judge.symbolic import Symbolic, UndecidedError

# `x=`, `f(x)=`, `x_1=`, `AB=` or `x\in`, which an answer may have and another lack.
_NAMED = re.compile(
    r"(?:\\?[a-zA-Z]+)(?:_(?:\w|\{\w+\}))?(?:\([a-zA-Z]\))?(?:=|\\in(?![a-z])\s*)(?=[^=]+$)"
)
_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", re.DOTALL)
_BASED = re.compile(r"(-?[0-9a-fA-F]+)_\{?(\d+)\}?")
_OPEN, _CLOSED = "([{", ")]}"


class Equality:
    """Compares answers; holds the process that compares formulas.

    Where it differs from the grader named above: an answer is brought to `normalise`'s form
    first, intervals with different brackets differ, the elements of a list may hold commas within
    brackets of their own, sets `{…}` are equal in any order.

    Args:
        symbolic: Decides what is left when everything cheaper has failed.
        percent: Whether a factor of 100 either way is let pass.
    """

    def __init__(self, symbolic: Symbolic, *, percent: bool = True) -> None:
        self._symbolic, self._percent = symbolic, percent

    def equal(self, completion: str, gold: str) -> bool:
        """Whether the answer `completion` is the answer `gold`.

        Raises:
            UndecidedError: Formulas of theirs cannot be compared in time.
            DependencyError: sympy is needed and not installed.
            CapacityError: The process for symbolic comparison does not come up.
        """
        if gold in tuple("ABCDE") and picked(completion) == gold:
            return True
        return self._same(normalise(completion), normalise(gold))

    def _same(self, left: str, right: str) -> bool:
        left, right = unnamed(left, right), unnamed(right, left)
        if not left or not right:
            return left == right == ""
        if left.lower() == right.lower() or self._close(left, right):
            return True
        bases = _BASED.fullmatch(left), _BASED.fullmatch(right)
        if any(bases):
            return same_in_base(left, right, all(bases))
        parts = elements(left), elements(right)
        if parts[0] is not None and parts[1] is not None:
            return self._all_same(parts[0], parts[1])
        if left.isalpha() and right.isalpha() and max(len(left), len(right)) > 3:
            return False  # words, not products of letters
        return self._same_formulas(left, right)

    def _same_formulas(self, left: str, right: str) -> bool:
        sides = split_outside(left, "="), split_outside(right, "=")
        if len(sides[0]) == len(sides[1]) == 2:
            ours, theirs = (f"{a}-({b})" for a, b in sides)
            both = ours, f"-({ours})"
            return first_same(both, lambda one: self._symbolic.equal(one, theirs)) is not None
        if len(sides[0]) != len(sides[1]):
            return False  # Math-Verify would let `0` pass for `x+y=0`
        return self._symbolic.equal(left, right)

    def _close(self, left: str, right: str) -> bool:
        a, b = value(left), value(right)
        if a is None or b is None:
            return False
        factors = (1, 100) if self._percent else (1,)
        return any(
            math.isclose(a * f, b, rel_tol=1e-4) or math.isclose(a, b * f, rel_tol=1e-4)
            for f in factors
        )

    def _all_same(self, left: tuple[str, list[str]], right: tuple[str, list[str]]) -> bool:
        if left[0] != right[0] or len(left[1]) != len(right[1]):
            return False
        if left[0] != "{}":
            return all(map(self._same, left[1], right[1]))
        return self._same_set(left[1], right[1])

    def _same_set(self, left: list[str], right: list[str]) -> bool:
        rest = list(right)
        for one in left:
            twin = first_same(rest, partial(self._same, one))
            if twin is None:
                return False
            rest.remove(twin)
        return True


def first_same(candidates: Sequence[str], same: Callable[[str], bool]) -> str | None:
    """The first of candidates that is the same; None: none is.

    Raises:
        UndecidedError: None is, as far as can be told; of one it cannot.
    """
    untold = None
    for candidate in candidates:
        try:
            if same(candidate):
                return candidate
        except UndecidedError as error:
            untold = error
    if untold is not None:
        raise untold
    return None


def unnamed(text: str, other: str) -> str:
    r"""`text` without the `x=` or `x\in` before it, where `other` has no such sign at all."""
    match = _NAMED.match(text)
    return text if match is None or re.search(r"=|\\in(?![a-z])", other) else text[match.end() :]


def same_in_base(left: str, right: str, both: bool) -> bool:
    """Whether numerals such as `101_2` agree; a base that only one of them names is let pass."""
    if both:
        return re.sub("[{}]", "", left).lower() == re.sub("[{}]", "", right).lower()
    return left.partition("_")[0].lower() == right.partition("_")[0].lower()


def value(text: str) -> float | None:
    r"""The number that `text` writes in digits or as a fraction of such; else None."""
    plain = plain_digits(text)
    if len(plain) > MAX_DIGITS:
        return None
    fraction = re.fullmatch(r"(-?)\\frac\{(-?[\d.]+)\}\{(-?[\d.]+)\}", plain)
    if fraction is None:
        return _float(plain)
    top, bottom = _float(fraction[2]), _float(fraction[3])
    if top is None or not bottom:
        return None
    return (-1 if fraction[1] else 1) * top / bottom


def elements(text: str) -> tuple[str, list[str]] | None:
    """The brackets and the elements of a tuple, list, set or matrix; None where `text` is none.

    Elements without brackets around them, `1,2`, are a set: roots come in any order.
    """
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        rows = [row.split("&") for row in matrix[1].split(r"\\") if row]
        return f"matrix of {[len(row) for row in rows]}", [cell for row in rows for cell in row]
    around = text[0] + text[-1]
    if around in ("()", "[]", "{}", "(]", "[)") and is_enclosed(text):
        inside = split_outside(text[1:-1], ",")
        return (around, inside) if len(inside) > 1 or around == "{}" else None
    parts = split_outside(text, ",")
    return ("{}", parts) if len(parts) > 1 else None


def is_enclosed(text: str) -> bool:
    """Whether the bracket that opens `text` is closed by its last character."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in _OPEN) - (character in _CLOSED)
        if depth == 0:
            return place == len(text) - 1
    return False


def split_outside(text: str, separator: str) -> list[str]:
    """`text` cut at each `separator` that stands in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in _OPEN) - (character in _CLOSED)
        if character == separator and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _float(text: str) -> float | None:
    if not re.fullmatch(r"[-+]?(?:\d+(?:,\d{3})*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?", text):
        return None
    found = float(text.replace(",", ""))
    return found if math.isfinite(found) else None

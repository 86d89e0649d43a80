"""When EvalPlus takes an output for the right one (`evalplus/eval/__init__.py`).

Equal is right; numbers may differ a little; some tasks of MBPP have more than one right answer.
"""

import math
from collections.abc import Sequence

from tongwen.judge.inside import Value

_AS_SETS = frozenset(
    [
        "similar_elements",
        "find_char_long",
        "common_in_nested_lists",
        "extract_singly",
        "larg_nnum",
        "intersection_array",
        "find_dissimilar",
        "Diff",
    ]
)
_FOUND_OR_NOT = frozenset(["check_str", "text_match_three", "text_starta_endb"])
_RTOL, _FLOAT_ATOL = 1e-7, 1e-6


def is_right(
    entry_point: str, arguments: Sequence[Value], value: Value, expected: Value, atol: float
) -> bool:
    """Whether a function's value is what the reference gives, as far as the task cares.

    Args:
        entry_point: The function's name; some have an oracle of their own.
        arguments: What it was called with.
        value: What it returned.
        expected: What the reference returned.
        atol: The row's tolerance.
    """
    try:
        return _is_right(entry_point, arguments, value, expected, atol)
    except (ArithmeticError, ValueError):  # numbers too large to be looked at are not right
        return False


def _is_right(
    entry_point: str, arguments: Sequence[Value], value: Value, expected: Value, atol: float
) -> bool:
    if entry_point == "find_zero":
        # Any root will do: the polynomial is small there.  Of inputs on which the reference itself
        # gives up before it finds one, its value stands.
        is_root = is_number(value) and abs(_polynomial(arguments[0], value)) <= max(
            atol, _FLOAT_ATOL
        )
        return is_root or bool(value == expected)
    if _agrees(entry_point, arguments, value, expected, atol):
        return True
    if atol == 0 and _is_floats(expected):
        atol = _FLOAT_ATOL
    return atol != 0 and type(value) is type(expected) and _is_close(value, expected, atol)


def is_number(value: Value) -> bool:
    """Whether it is a real number, and not a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _agrees(
    entry_point: str, arguments: Sequence[Value], value: Value, expected: Value, atol: float
) -> bool:
    """Equality, but for the tasks that have more than one right answer."""
    if value == expected:
        return True
    if entry_point in _AS_SETS:
        return bool(_as_set(value) == _as_set(expected))
    if entry_point in _FOUND_OR_NOT and not isinstance(value, bool):
        return bool(expected) == (value is not None)
    if entry_point == "surface_Area" and is_number(value):
        return abs(value - _pyramid(*arguments)) <= atol
    if entry_point == "digit_distance_nums":
        return bool(value == _digits_apart(*arguments))
    # The statement of the one can be read in two ways, and EvalPlus asks only that it runs; the
    # other may find no divisor.
    return entry_point == "are_equivalent" or (entry_point == "sum_div" and value == 0)


def _as_set(value: Value) -> Value:
    """What it holds, in no order; itself where that cannot be had."""
    try:
        return set(value)
    except TypeError:
        return value


def _pyramid(edge: Value, height: Value) -> float:
    """Area of a square pyramid of that upright height; the task does not say which height."""
    return edge**2 + 2 * edge * math.sqrt((edge / 2) ** 2 + height**2)


def _digits_apart(one: Value, other: Value) -> int:
    """Sum of the differences of digits, place by place."""
    width = max(len(str(one)), len(str(other)))
    pairs = zip(str(one).zfill(width), str(other).zfill(width), strict=True)
    return sum(abs(int(a) - int(b)) for a, b in pairs)


def _polynomial(coefficients: Sequence[Value], x: Value) -> float:
    return math.fsum(each * x**place for place, each in enumerate(coefficients))


def _is_floats(value: Value) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(each, float) for each in value)
    return isinstance(value, float)


def _is_close(value: Value, expected: Value, atol: float) -> bool:
    """Numbers within the tolerance, one by one, at any depth."""
    if isinstance(expected, list | tuple):
        return (
            isinstance(value, list | tuple)
            and len(value) == len(expected)
            and all(_is_close(*pair, atol) for pair in zip(value, expected, strict=True))
        )
    if not (
        isinstance(value, int | float | complex) and isinstance(expected, int | float | complex)
    ):
        return False
    return bool(value == expected) or abs(value - expected) <= atol + _RTOL * abs(expected)

"""How often counted repetitions inside each other repeat what they hold.

`((a{100}){100}){100}` has twenty characters and matches a million: the automaton that it stands for
is not built, but its forced text is, and other requests wait for that.
"""

import re

from tongwen.errors import RequestError

MAX_REPEATS = 10_000
"""Times that one character of a pattern may be asked for."""

MAX_CHARACTERS = 8_192
"""Characters of one pattern."""

_PIECE = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{(\d+)(?:,(\d*))?\}|.", re.DOTALL)


def check_repeats(pattern: str) -> None:
    """Refuse a regular expression that is too long or repeats too much.

    Raises:
        RequestError: It has more than `MAX_CHARACTERS`, or repeats something more than
            `MAX_REPEATS` times.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise RequestError(
            f"a regular expression has {len(pattern)} characters; "
            f"at most {MAX_CHARACTERS} are taken"
        )
    repeats = most_repeats(pattern)
    if repeats > MAX_REPEATS:
        raise RequestError(
            f"the regular expression `{_shown(pattern)}` repeats a part {repeats} times; "
            f"at most {MAX_REPEATS} are taken"
        )


def most_repeats(pattern: str) -> int:
    """The most times that any character of a regular expression is asked for."""
    open_groups: list[int] = []
    inside = most = last = 1
    for piece in _PIECE.finditer(pattern):
        if piece[1] is not None:
            last *= max(int(piece[2] or piece[1]), 1)
        elif piece[0] == "(":
            open_groups.append(inside)
            inside = last = 1
        elif piece[0] == ")" and open_groups:
            last, inside = inside, open_groups.pop()
        else:
            last = 1
        inside = max(inside, last)
        most = max(most, inside)
    return most


def _shown(pattern: str) -> str:
    return pattern if len(pattern) <= 60 else pattern[:57] + "..."

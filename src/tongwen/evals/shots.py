"""Solved rows that are shown before a question, and the forms in which they are shown."""

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from tongwen.errors import RequestError

Row = Mapping[str, Any]

Apart = tuple[dict[Hashable, tuple[Row, ...]], set[int]]
"""The rows of each group that are shown, and the places of all of them in the file."""

HARNESS_SEED = 1234
"""What lm-evaluation-harness seeds its draws with (`lm_eval/evaluator.py`)."""


def first(pool: Sequence[Row], num: int, title: str) -> tuple[Row, ...]:
    """The first `num` of the rows that a benchmark shows solved.

    Raises:
        RequestError: There are fewer.
    """
    if num > len(pool):
        raise RequestError(
            f"`{title}` has {len(pool)} solved rows to show, not {num}",
            hint=f"--shots {len(pool)}, or fewer",
        )
    return tuple(pool[:num])


def harness_draws(pool: Sequence[Row], num: int, num_samples: int) -> list[tuple[Row, ...]]:
    """What lm-evaluation-harness shows before each sample: one stream of draws, in their order.

    Sample number `i` gets the same rows whatever comes after it, but not whatever is left out
    before it (`lm_eval/api/samplers.py`, `ContextSampler.sample`).

    Raises:
        RequestError: The pool has fewer than `num`.
    """
    first(pool, num, "the pool of exemplars")
    stream = random.Random(HARNESS_SEED)
    return [tuple(stream.sample(list(pool), num)) for _ in range(num_samples)]


def set_apart(
    rows: Sequence[Row], num: int, group: Callable[[Row], Hashable], seed: int = 0
) -> Apart:
    """Rows of each group that are shown solved and then not asked, and their places.

    Drawn by the seed from each group for itself, in the order of the file; a larger `num` holds
    those of a smaller one.

    Raises:
        RequestError: Of a group none would be left to ask.
    """
    places: dict[Hashable, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(group(row), []).append(place)
    shown, apart = {}, set()
    for name, members in places.items():
        if num >= len(members):
            raise RequestError(f"`{name}` has {len(members)} rows: {num} cannot be set apart")
        drawn = list(members)
        random.Random(f"{seed}/{name}").shuffle(drawn)
        taken = sorted(drawn[:num])
        shown[name] = tuple(rows[place] for place in taken)
        apart.update(taken)
    return shown, apart


def turns(solved: Sequence[tuple[str, str]], asked: str, system: str = "") -> list[dict[str, str]]:
    """A conversation in which the user asked before and was answered as one wishes."""
    said = [{"role": "system", "content": system}] if system else []
    for question, answer in solved:
        said.append({"role": "user", "content": question})
        said.append({"role": "assistant", "content": answer})
    return [*said, {"role": "user", "content": asked}]

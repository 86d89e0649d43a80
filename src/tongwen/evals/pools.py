"""Where the rows come from that are shown solved, and which of them stand before which question."""

from collections.abc import Callable, Sequence
from itertools import islice
from random import Random

from tongwen.errors import RequestError
from tongwen.evals.shots import HARNESS_SEED, Row, first, harness_draws
from tongwen.judge.benchmarks import Benchmarks

APART = 100
"""Rows set apart to choose from, where a benchmark comes without its training part."""

Pairs = list[tuple[Row, tuple[Row, ...]]]
"""Questions, each with the rows that are shown solved before it."""


def by_group(rows: Sequence[Row], group: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows by subject or language, in order of appearance."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(group(row), []).append(row)
    return found


def apart(rows: Sequence[Row], num: int) -> tuple[list[Row], list[Row]]:
    """The first `num` rows, to be shown solved, and the others, to be asked.

    Raises:
        RequestError: None would be left to ask.
    """
    if num >= len(rows):
        raise RequestError(f"of {len(rows)} rows {num} are set apart as solved, and none is left")
    return list(rows[:num]), list(rows[num:])


def train_or_apart(
    data: Benchmarks, train: str, rows: Sequence[Row]
) -> tuple[list[Row], list[Row]]:
    """Rows to show solved, and rows to ask: where the training part is absent, from one file.

    Raises:
        RequestError: The training part is damaged, or there is but one row.
    """
    if data.find([train]) is not None:
        return list(data.rows(train)), list(rows)
    return apart(rows, min(APART, max(1, len(rows) // 2)))


def same_shots(rows: Sequence[Row], pool: Sequence[Row], num: int, title: str) -> Pairs:
    """The first of `pool` before every question; what they have in common is computed once.

    Raises:
        RequestError: `pool` has fewer than `num`.
    """
    shots = first(pool, num, title)
    return [(row, shots) for row in rows]


def harness_shots(rows: Sequence[Row], pool: Sequence[Row], num: int, *, spares: bool) -> Pairs:
    """What lm-evaluation-harness draws from `pool` before each of `rows`, in their order.

    Args:
        rows: The questions.
        pool: The solved rows.
        num: How many stand before each.
        spares: Draw one more and leave out the row that is asked.  The harness does so where a
            task names neither a test split nor one for solved rows (`lm_eval/api/task.py`,
            `fewshot_context`, compares both names).

    Raises:
        RequestError: `pool` has too few rows.
    """
    if not spares or not num:
        return list(zip(rows, harness_draws(pool, num, len(rows)), strict=True))
    first(pool, num + 1, "the pool of exemplars")
    stream = Random(HARNESS_SEED)
    return [(row, _others(stream, pool, num, row)) for row in rows]


def harness_first(rows: Sequence[Row], num: int) -> Pairs:
    """The first others before each: `first_n` on the very split that is asked.

    Raises:
        RequestError: There are fewer.
    """
    first(rows, num + 1 if num else 0, "the file")
    return [(row, tuple(islice((one for one in rows if one != row), num))) for row in rows]


def _others(stream: Random, pool: Sequence[Row], num: int, asked: Row) -> tuple[Row, ...]:
    drawn = [row for row in stream.sample(list(pool), num + 1) if row != asked][:num]
    if len(drawn) < num:  # the pool holds the row that is asked more than once
        drawn = stream.sample([row for row in pool if row != asked], num)
    return tuple(drawn)

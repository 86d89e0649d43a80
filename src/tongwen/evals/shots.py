"""Which solved rows stand before a question."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

from tongwen.errors import RequestError
from tongwen.judge.benchmarks import Benchmarks

Row = Mapping[str, Any]

HARNESS_SEED = 1234
"""Of its draws, unless its user names another (`lm_eval/evaluator.py`, `fewshot_random_seed`)."""

APART = 100
"""Rows set apart to draw from, where a benchmark comes without its training part."""


def by_group(rows: Sequence[Row], group: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows by subject or language, in order of appearance."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(group(row), []).append(row)
    return found


def apart(rows: Sequence[Row], count: int) -> tuple[list[Row], list[Row]]:
    """The first `count` rows, to be shown solved, and the others, to be scored.

    Raises:
        RequestError: None would be left.
    """
    if count >= len(rows):
        raise RequestError(
            f"{count} of {len(rows)} rows would be set apart as solved ones and none be left"
        )
    return list(rows[:count]), list(rows[count:])


def first(pool: Sequence[Row], count: int) -> tuple[Row, ...]:
    """The first rows of `pool`: the same before every question, and so computed once.

    Raises:
        RequestError: There are fewer.
    """
    _refuse_few(pool, count)
    return tuple(pool[:count])


def harness_draws(
    rows: Sequence[Row], pool: Sequence[Row], count: int, *, spares_asked: bool
) -> Iterator[tuple[Row, ...]]:
    """For each of `rows` in turn what lm-evaluation-harness draws from `pool`.

    One generator runs through all questions, so that a draw depends on those before it
    (`lm_eval/api/samplers.py`, `ContextSampler`).

    Args:
        rows: The questions, in the order in which they are asked.
        pool: What is drawn from.
        count: How many stand before each.
        spares_asked: Draw one more, and drop the row that is asked: what the harness does where
            neither the test split nor the split of the solved rows has a name.

    Raises:
        RequestError: `pool` has too few rows.
    """
    noise = Random(HARNESS_SEED)
    _refuse_few(pool, count + spares_asked if count else 0)
    for row in rows:
        if not count:
            yield ()
        elif not spares_asked:
            yield tuple(noise.sample(pool, count))
        else:
            yield _others(noise, pool, count, row)


def harness_first(rows: Sequence[Row], count: int) -> Iterator[tuple[Row, ...]]:
    """For each of `rows` the first others (`FirstNSampler` on the split that is asked).

    Raises:
        RequestError: There are fewer.
    """
    _refuse_few(rows, count + 1)
    for place in range(len(rows)):
        yield tuple(rows[other] for other in range(count + 1) if other != place)[:count]


def _others(noise: Random, pool: Sequence[Row], count: int, asked: Row) -> tuple[Row, ...]:
    drawn = [row for row in noise.sample(pool, count + 1) if row != asked][:count]
    if len(drawn) < count:
        drawn = noise.sample([row for row in pool if row != asked], count)
    return tuple(drawn)


def _refuse_few(pool: Sequence[Row], count: int) -> None:
    if count > len(pool):
        raise RequestError(f"{count} solved rows are wanted, but there are {len(pool)}")


def with_shots(
    rows: Sequence[Row], pool: Sequence[Row], count: int, *, drawn: bool, spares_asked: bool
) -> list[tuple[Row, tuple[Row, ...]]]:
    """Each of `rows` with its solved ones: drawn as the harness does, or the first of `pool`.

    Raises:
        RequestError: `pool` has too few rows.
    """
    if drawn:
        shots = list(harness_draws(rows, pool, count, spares_asked=spares_asked))
    else:
        shots = [first(pool, count)] * len(rows)
    return list(zip(rows, shots, strict=True))


def train_or_apart(
    data: Benchmarks, train: str, rows: Sequence[Row]
) -> tuple[list[Row], list[Row]]:
    """Rows to show solved, and rows to ask: where the training part is absent, from one file.

    Raises:
        RequestError: The training part is damaged, or too few rows are there.
    """
    if data.find([train]) is not None:
        return list(data.rows(train)), list(rows)
    return apart(rows, min(APART, len(rows) // 2))

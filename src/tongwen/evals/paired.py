"""Two series of yes and no about the same samples: do they differ, do they agree?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

from tongwen.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class McNemar:
    """The samples on which two models differ, and how likely so uneven a split is by chance."""

    only_a: int
    """Samples on which the first alone says yes."""

    only_b: int
    """Samples on which the second alone does."""

    num_samples: int
    p: float
    """Two-sided and exact."""


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> McNemar:
    """Whether two models differ on the same samples (McNemar, 1947).

    Where they do not, each sample on which they differ falls to either by a fair coin; `p` is the
    chance of a split at least as uneven, exactly, from the binomial distribution.

    Raises:
        RequestError: The series are of different lengths, or empty.
    """
    _refuse_unequal(a, b)
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    differing = only_a + only_b
    tail = sum(comb(differing, k) for k in range(min(only_a, only_b) + 1))
    p = min(1.0, 2 * tail / 2**differing)  # integers: exact until the last division
    return McNemar(only_a=only_a, only_b=only_b, num_samples=len(a), p=p)


def mcnemar_by_id(a: Mapping[str, bool], b: Mapping[str, bool]) -> McNemar:
    """The same over the samples that both have, told by their ids.

    Raises:
        RequestError: They have none in common.
    """
    common = [name for name in a if name in b]
    if not common:
        raise RequestError("the two runs have no sample in common")
    return mcnemar([a[name] for name in common], [b[name] for name in common])


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How far two judges of the same samples agree."""

    rate: float
    """Share of samples on which they say the same."""

    kappa: float | None
    """Cohen's: 1 always, 0 as often as by chance; `None`: both always say the same one thing."""


def agreement(a: Sequence[bool], b: Sequence[bool]) -> Agreement:
    """How far two series agree (Cohen, 1960, doi 10.1177/001316446002000104).

    Raises:
        RequestError: The series are of different lengths, or empty.
    """
    _refuse_unequal(a, b)
    n = len(a)
    rate = sum(x == y for x, y in zip(a, b, strict=True)) / n
    yes_a, yes_b = sum(a) / n, sum(b) / n
    by_chance = yes_a * yes_b + (1 - yes_a) * (1 - yes_b)
    kappa = None if by_chance == 1 else (rate - by_chance) / (1 - by_chance)
    return Agreement(rate=rate, kappa=kappa)


def _refuse_unequal(a: Sequence[bool], b: Sequence[bool]) -> None:
    if len(a) != len(b) or not a:
        raise RequestError(f"{len(a)} and {len(b)} verdicts cannot be paired")

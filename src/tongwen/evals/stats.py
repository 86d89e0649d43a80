"""Whether a difference is one: two runs on the same samples, and intervals of shares.

Errors of runs that answered the same questions are paired, because questions are hard or easy for
both: the error of the difference is then smaller than that of two runs apart (Miller, 2024,
"Adding Error Bars to Evals", arXiv 2411.00640, section 4).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean, variance

import numpy as np
from numpy.typing import NDArray

from tongwen.errors import RequestError
from tongwen.evals.figure import stratified_error, tells_within

RESAMPLES = 10_000
"""Of a bootstrap, unless told."""

_AT_ONCE = 256
"""Resamples that are drawn together: bounds the memory."""

_Vector = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Where a value lies with some confidence."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """The difference of two runs on the samples that both have."""

    num_samples: int
    num_groups: int
    """1: the mean is over samples; more: over groups of the mean within each."""

    means: tuple[float, float]
    """Of the first and of the second run, on these samples."""

    difference: float
    """The second less the first."""

    stderr: float | None
    """Of the difference, over samples; groups are taken as given.  `None`: there is one sample."""

    clustered_stderr: float | None
    """Of the difference, as if the groups had been drawn too; `None`: there is only one."""

    normal: Interval | None
    """By normal theory, from `stderr`."""

    bootstrap: Interval
    """From samples drawn again, within each group; percentiles."""

    confidence: float


def paired(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Paired:
    """How much better the second run is.

    Args:
        first: Scores of one run.
        second: Scores of the other, of the same samples in the same order.
        groups: Of each sample, where every group counts the same; `None`: every sample does.
        confidence: That the intervals hold the difference.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Raises:
        RequestError: There is nothing to compare, or a confidence that is none.
    """
    if not first:
        raise RequestError("two runs without a sample in common cannot be compared")
    z = _quantile(confidence)
    parts = _by_group(first, second, groups)
    changes = [after - before for before, after in parts]
    difference = fmean(change.mean() for change in changes)
    stderr = stratified_error([change.tolist() for change in changes])
    drawn = _bootstrap(changes, seed, resamples)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Paired(
        num_samples=len(first),
        num_groups=len(parts),
        means=(
            fmean(before.mean() for before, _ in parts),
            fmean(after.mean() for _, after in parts),
        ),
        difference=difference,
        stderr=stderr,
        clustered_stderr=_clustered_error(changes),
        normal=_around(difference, z, stderr),
        bootstrap=Interval(low=float(low), high=float(high)),
        confidence=confidence,
    )


def sign_test(better: int, worse: int) -> float:
    """The chance that as many samples or more go one way where both ways are equally likely.

    Exact and two-sided; of scores that are 0 or 1 it is McNemar's test (McNemar, 1947).

    Args:
        better: Samples whose score rose.
        worse: Samples whose score fell; those that stayed say nothing.
    """
    total, tail, ways = better + worse, 0, 1
    for k in range(min(better, worse) + 1):
        tail += ways  # C(total, k)
        ways = ways * (total - k) // (k + 1)
    return min(1.0, 2 * tail / (1 << total))


def wilson(hits: int, total: int, *, confidence: float = 0.95) -> Interval:
    """Where a share lies of which `hits` of `total` were seen (Wilson, 1927).

    Raises:
        RequestError: There are none, or more hits than trials.
    """
    if not 0 <= hits <= total or total < 1:
        raise RequestError(f"{hits} of {total} is no share")
    z = _quantile(confidence)
    share, weight = hits / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z * sqrt(share * (1 - share) / total + weight / (4 * total)) / (1 + weight)
    low = 0.0 if hits == 0 else centre - half
    return Interval(low=low, high=1.0 if hits == total else centre + half)


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise RequestError(f"a confidence lies between 0 and 1, not at {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _around(value: float, z: float, stderr: float | None) -> Interval | None:
    if stderr is None:
        return None
    return Interval(low=value - z * stderr, high=value + z * stderr)


def _by_group(
    first: Sequence[float], second: Sequence[float], groups: Sequence[str] | None
) -> list[tuple[_Vector, _Vector]]:
    """Both runs' scores of each group, in order of appearance."""
    names = groups if groups is not None else [""] * len(first)
    found: Mapping[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for name, before, after in zip(names, first, second, strict=True):
        found[name][0].append(before)
        found[name][1].append(after)
    return [
        (np.asarray(before, float), np.asarray(after, float)) for before, after in found.values()
    ]


def _clustered_error(changes: Sequence[_Vector]) -> float | None:
    """Over groups: the root of the variance of their means over their number."""
    if len(changes) < 2:
        return None
    return sqrt(variance([float(change.mean()) for change in changes]) / len(changes))


def _bootstrap(changes: Sequence[_Vector], seed: int, resamples: int) -> _Vector:
    """The mean over groups of `resamples` runs drawn again from these."""
    generator = np.random.default_rng(seed)
    alone = [change for change in changes if len(change) == 1]
    several = [_stretched(change) for change in changes if len(change) > 1]
    drawn = [_redrawn(change, len(change), generator, resamples) for change in several]
    tells = tells_within([change.tolist() for change in changes])
    others = several if tells else [_stretched(np.concatenate(changes))]
    about = np.concatenate([other - other.mean() for other in others])
    drawn += [change + _redrawn(about, 1, generator, resamples) for change in alone]
    return np.mean(drawn, axis=0)


def _stretched(values: _Vector) -> _Vector:
    """Values so far from their mean that what is drawn of few of them spreads as it should.

    What is drawn again from n values has (n - 1) / n of their variance.
    """
    n, middle = len(values), values.mean()
    return middle + (values - middle) * sqrt(n / max(1, n - 1))


def _redrawn(values: _Vector, num: int, generator: np.random.Generator, resamples: int) -> _Vector:
    """Means of `num` drawn values; how often each of them comes is all that matters."""
    kinds, counts = np.unique(values, return_counts=True)
    shares = counts / len(values)
    chunks = [min(_AT_ONCE, resamples - start) for start in range(0, resamples, _AT_ONCE)]
    drawn = [generator.multinomial(num, shares, size) @ kinds for size in chunks]
    return np.concatenate(drawn) / num

"""From grades to the figure of a card, with its standard error."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb, sqrt
from statistics import fmean, variance

from tongwen.evals.sample import Graded


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """What a run of a benchmark comes to."""

    score: float
    """As the card prints it, as a share of 1; of perplexities themselves."""

    stderr: float | None
    """Standard error over samples; `None`: of a single one there is none."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Others, by name."""

    groups: Mapping[str, float] = field(default_factory=dict)
    """The score within each subject or language, where there are several."""


def mean(graded: Sequence[Graded]) -> Figure:
    """The mean over samples: every question counts the same."""
    scores = [each.score for each in graded]
    return Figure(
        score=fmean(scores),
        stderr=standard_error(scores),
        metrics={**mean_metrics(graded), **of_several(graded)},
        groups=_group_means(graded),
    )


def macro(graded: Sequence[Graded]) -> Figure:
    """The mean over groups of the mean within each: every subject counts the same."""
    groups = by_group(graded)
    means = {name: fmean(one.score for one in group) for name, group in groups.items()}
    return Figure(
        score=fmean(means.values()),
        stderr=stratified_error([[one.score for one in group] for group in groups.values()]),
        metrics={
            "micro": fmean(each.score for each in graded),
            **mean_metrics(graded),
            **of_several(graded),
        },
        groups=means if len(means) > 1 else {},
    )


def standard_error(scores: Sequence[float]) -> float | None:
    """Of the mean of independent scores: the root of their variance over their number."""
    return sqrt(variance(scores) / len(scores)) if len(scores) > 1 else None


def stratified_error(parts: Sequence[Sequence[float]]) -> float | None:
    """Standard error of the mean over parts of the mean of each.

    A part of a single value is taken to spread as the others do within themselves; where these are
    too few to tell, as all values do together, which is more.  `None`: there is but one value.
    """
    single = pooled_variance(parts)
    if single is None:
        return None
    squares = [(variance(part) if len(part) > 1 else single) / len(part) for part in parts]
    return sqrt(sum(squares)) / len(parts)


def pooled_variance(parts: Sequence[Sequence[float]]) -> float | None:
    """Of values about the mean of their part; where these are too few, about the mean of all."""
    several = [part for part in parts if len(part) > 1]
    if not tells_within(parts):
        values = [value for part in parts for value in part]
        return variance(values) if len(values) > 1 else None
    freedom = sum(len(part) - 1 for part in several)
    return sum((len(part) - 1) * variance(part) for part in several) / freedom


def tells_within(parts: Sequence[Sequence[float]]) -> bool:
    """Whether deviations within parts are as many as the parts that must borrow from them."""
    freedom = sum(len(part) - 1 for part in parts)
    return freedom >= max(1, sum(len(part) == 1 for part in parts))


def by_group(graded: Iterable[Graded]) -> dict[str, list[Graded]]:
    """Samples by their group, in order of appearance."""
    groups: dict[str, list[Graded]] = defaultdict(list)
    for each in graded:
        groups[each.sample.group].append(each)
    return dict(groups)


def mean_metrics(graded: Sequence[Graded]) -> dict[str, float]:
    """The mean of every other metric, over the completions that have it."""
    values: dict[str, list[float]] = defaultdict(list)
    for each in graded:
        for grade in each.grades:
            for name, value in grade.metrics.items():
                values[name].append(value)
    return {name: fmean(found) for name, found in values.items()}


def of_several(graded: Sequence[Graded]) -> dict[str, float]:
    """Where samples have several completions: pass@k, and the vote of all."""
    n = min(len(each.grades) for each in graded)
    if n < 2:
        return {}
    found = {}
    for k in sorted({k for k in (1, 2, 4, 5, 8, 10, 16, 32, 64, 100, n) if k <= n}):
        found[f"pass@{k}"] = fmean(pass_at(k, each) for each in graded)
    if any(grade.parsed is not None for each in graded for grade in each.grades):
        found[f"maj@{n}"] = fmean(majority(each) for each in graded)
    return found


def pass_at(k: int, each: Graded) -> float:
    """The chance that of `k` completions drawn from these at least one passes, without bias.

    1 - C(n - c, k) / C(n, k) of `n` completions of which `c` pass (Chen et al., 2021,
    arXiv 2107.03374, equation 1).
    """
    n, c = len(each.grades), sum(grade.score >= 1 for grade in each.grades)
    return 1.0 - comb(n - c, k) / comb(n, k)


def majority(each: Graded) -> float:
    """The score of the answer that most completions give, the first of equals."""
    votes = Counter(grade.parsed for grade in each.grades if grade.parsed is not None)
    if not votes:
        return 0.0
    winner = max(votes, key=lambda parsed: votes[parsed])
    return next(grade.score for grade in each.grades if grade.parsed == winner)


def _group_means(graded: Sequence[Graded]) -> dict[str, float]:
    groups = by_group(graded)
    if len(groups) < 2:
        return {}
    return {name: fmean(each.score for each in group) for name, group in groups.items()}

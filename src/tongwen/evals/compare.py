"""Two runs of one benchmark: what differs in how, by how much in what came of it, and where."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isclose
from statistics import fmean
from typing import Any

from tongwen.errors import RequestError
from tongwen.evals.catalogue import is_share, less_is_better
from tongwen.evals.receipt import Receipt
from tongwen.evals.record import Record
from tongwen.evals.runs import Run, score_of
from tongwen.evals.stats import Interval, Paired, paired, sign_test
from tongwen.evals.wording import change_text, score_text, short

_SHOWN = 20
"""Samples that a text names; JSON names all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Differing:
    """Something that is not the same in both runs."""

    place: str
    """Where in the receipt: `subject.weights`."""

    first: Any
    second: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Flip:
    """A sample whose score is another."""

    id: str
    group: str
    first: float
    second: float
    parsed: tuple[str | None, str | None]
    """The first completion's answer in both runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What two runs of a benchmark have and have not in common."""

    task: str
    names: tuple[str, str]
    figures: tuple[float, float]
    """Of all samples of each, as their receipts have them."""

    less_is_better: bool
    is_share: bool
    """Whether figures and scores are shares of 1."""

    differing: tuple[Differing, ...]
    paired: Paired
    is_of_figure: bool
    """Whether the paired means are the receipts' figures where all samples are shared; other
    figures, such as perplexities, are no means of scores."""

    p_value: float
    """Of the exact sign test over samples that flipped; of scores 0 and 1 McNemar's."""

    flips: tuple[Flip, ...]
    num_same_prompts: int
    """Shared samples that were asked with the same token ids."""

    num_only: tuple[int, int]
    """Graded samples that only one of them has."""

    num_failed: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, with every sample that flipped."""
        return asdict(self)

    def text(self) -> str:
        """For a terminal."""
        return "\n".join(_lines(self)) + "\n"


def compare(first: Run, second: Run, *, seed: int = 0) -> Comparison:
    """Two runs, paired sample by sample.

    Args:
        first: What is compared with.
        second: What is compared.
        seed: Of the bootstrap.

    Raises:
        RequestError: They are of different benchmarks or data, or have no graded sample in common.
    """
    refuse_unlike(first.receipt, second.receipt)
    mine, other = ({record.id: record for record in run.graded} for run in (first, second))
    shared = [(mine[id_], other[id_]) for id_ in mine if id_ in other]
    if not shared:
        raise RequestError("two runs without a graded sample in common cannot be compared")
    scores = [score_of(a) for a, _ in shared], [score_of(b) for _, b in shared]
    flips = tuple(_flip(a, b) for a, b in shared if score_of(a) != score_of(b))
    is_macro = all("micro" in run.receipt.figure.metrics for run in (first, second))
    groups = [record.group for record, _ in shared] if is_macro else None
    return Comparison(
        task=first.receipt.settings.task,
        names=(first.receipt.subject.name, second.receipt.subject.name),
        figures=(first.receipt.figure.score, second.receipt.figure.score),
        less_is_better=less_is_better(first.receipt.settings.task),
        is_share=is_share(first.receipt.settings.task),
        differing=tuple(differing(first.receipt, second.receipt)),
        paired=paired(*scores, groups, seed=seed),
        is_of_figure=_is_mean(first, is_macro=is_macro) and _is_mean(second, is_macro=is_macro),
        p_value=sign_test(len(_rises(flips)), len(flips) - len(_rises(flips))),
        flips=flips,
        num_same_prompts=sum(_same_prompt(a, b) for a, b in shared),
        num_only=(len(mine) - len(shared), len(other) - len(shared)),
        num_failed=(first.receipt.num_failed, second.receipt.num_failed),
    )


def refuse_unlike(first: Receipt, second: Receipt) -> None:
    """Say in one line why two receipts cannot be compared.

    Raises:
        RequestError: They cannot.
    """
    tasks = first.settings.task, second.settings.task
    if tasks[0] != tasks[1]:
        raise RequestError(f"one run is of `{tasks[0]}`, the other of `{tasks[1]}`")
    both = first.data.keys() & second.data.keys()
    unlike = [name for name in sorted(both) if first.data[name] != second.data[name]]
    if unlike:
        name = unlike[0]
        raise RequestError(
            f"the runs read different data: `{name}` is `{first.data[name][:12]}` in one and "
            f"`{second.data[name][:12]}` in the other"
        )
    if not both and (first.data or second.data):
        raise RequestError(f"the runs read different files: {_names(first)} and {_names(second)}")


def differing(first: Receipt, second: Receipt) -> list[Differing]:
    """What is not the same in how two runs were made."""
    places = "settings", "subject", "judge", "data", "machine"
    found = [
        each
        for place in places
        for each in _differing(place, _mapping(first, place), _mapping(second, place))
    ]
    return found + _differing(
        "", *({"code": each.code, "version": each.version} for each in (first, second))
    )


def _differing(place: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Differing]:
    names = [*first, *(name for name in second if name not in first)]
    return [
        Differing(
            place=f"{place}.{name}".lstrip("."), first=first.get(name), second=second.get(name)
        )
        for name in names
        if first.get(name) != second.get(name)
    ]


def _mapping(receipt: Receipt, place: str) -> Mapping[str, Any]:
    settings = asdict(receipt.settings)
    judge = settings.pop("judged_by")
    return {
        "settings": settings,
        "subject": receipt.subject.to_json(),
        "judge": judge or {},
        "data": receipt.data,
        "machine": receipt.machine,
    }[place]


def _names(receipt: Receipt) -> str:
    return ", ".join(f"`{name}`" for name in receipt.data) or "none"


def _is_mean(run: Run, *, is_macro: bool) -> bool:
    """Whether a run's figure is the mean of its samples' scores."""
    parts: dict[str, list[float]] = {}
    for record in run.graded:
        parts.setdefault(record.group if is_macro else "", []).append(score_of(record))
    return isclose(fmean(map(fmean, parts.values())), run.receipt.figure.score, abs_tol=1e-9)


def _rises(flips: Sequence[Flip]) -> list[Flip]:
    return [flip for flip in flips if flip.second > flip.first]


def _flip(first: Record, second: Record) -> Flip:
    return Flip(
        id=first.id,
        group=first.group,
        first=score_of(first),
        second=score_of(second),
        parsed=(first.grades[0].parsed, second.grades[0].parsed),
    )


def _same_prompt(first: Record, second: Record) -> bool:
    return first.prompt_digest is not None and first.prompt_digest == second.prompt_digest


# ---- as text


def _lines(found: Comparison) -> list[str]:
    a, b = found.names
    rises, falls = _rises(found.flips), [f for f in found.flips if f.second < f.first]
    in_b, in_a = (falls, rises) if found.less_is_better else (rises, falls)
    return [
        found.task + (", less is better" if found.less_is_better else ""),
        f"  A  {_score(found, found.figures[0]):>9}  {a}",
        f"  B  {_score(found, found.figures[1]):>9}  {b}",
        *_how_lines(found),
        *_statistics_lines(found),
        *_flip_lines("better in B", in_b),
        *_flip_lines("better in A", in_a),
    ]


def _how_lines(found: Comparison) -> list[str]:
    if not found.differing:
        return ["made alike: settings, subject, data, machine, code"]
    width = max(len(each.place) for each in found.differing)
    return ["made otherwise (A | B):"] + [
        f"  {each.place:<{width}}  {short(each.first)} | {short(each.second)}"
        for each in found.differing
    ]


def _statistics_lines(found: Comparison) -> list[str]:
    pair = found.paired
    over = f" in {pair.num_groups} groups" if pair.num_groups > 1 else ""
    lines = [
        f"{pair.num_samples} samples in common{over}, "
        f"{found.num_same_prompts} of them asked with the same token ids",
        f"  B - A            {_change(found, pair.difference)}",
    ]
    if pair.stderr is not None and pair.normal is not None:
        lines.append(f"  standard error   {_score(found, pair.stderr)}")
        lines.append(f"  {pair.confidence:.0%} normal       {_interval(found, pair.normal)}")
    lines.append(f"  {pair.confidence:.0%} bootstrap    {_interval(found, pair.bootstrap)}")
    if pair.clustered_stderr is not None:
        lines.append(f"  clustered error  {_score(found, pair.clustered_stderr)}")
    lines.append(f"  sign test        p = {found.p_value:.4g}")
    for name, values in (("in one only", found.num_only), ("failed", found.num_failed)):
        if any(values):
            lines.append(f"  {name:<15}  {values[0]} in A, {values[1]} in B")
    if not found.is_of_figure:
        lines.append("  these are of the samples' scores; the figure itself is no mean of them")
    return lines


def _flip_lines(title: str, flips: Sequence[Flip]) -> list[str]:
    lines = [f"{title}: {len(flips)}"]
    for flip in flips[:_SHOWN]:
        where = f" ({flip.group})" if flip.group else ""
        lines.append(f"  {flip.id}{where}: {short(flip.parsed[0])} | {short(flip.parsed[1])}")
    if len(flips) > _SHOWN:
        lines.append(f"  and {len(flips) - _SHOWN} more")
    return lines


def _interval(found: Comparison, interval: Interval) -> str:
    return f"{_change(found, interval.low)} to {_change(found, interval.high)}"


def _score(found: Comparison, value: float) -> str:
    return score_text(value, is_share=found.is_share)


def _change(found: Comparison, value: float) -> str:
    return change_text(value, is_share=found.is_share)

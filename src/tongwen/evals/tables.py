"""Figures of several runs side by side: as Markdown, as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.evals.catalogue import is_share
from tongwen.evals.receipt import Receipt
from tongwen.evals.runs import Run
from tongwen.evals.wording import score_text

Published = Mapping[str, Mapping[str, float]]
"""By benchmark: what others printed, by whom; in the unit of `Figure.score`."""

_NOTHING: Published = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A run in one line."""

    task: str
    preset: str
    shots: int
    model: str
    score: float
    stderr: float | None
    is_share: bool
    num_samples: int
    num_failed: int
    published: Mapping[str, float]


def rows(runs: Sequence[Run], published: Published = _NOTHING) -> list[Row]:
    """The runs, those of one benchmark together, in order of appearance."""
    order = list(dict.fromkeys(run.receipt.settings.task for run in runs))
    ordered = sorted(runs, key=lambda run: order.index(run.receipt.settings.task))
    return [_row(run.receipt, published) for run in ordered]


def _row(receipt: Receipt, published: Published) -> Row:
    settings = receipt.settings
    return Row(
        task=settings.task,
        preset=settings.preset,
        shots=settings.shots,
        model=receipt.subject.name,
        score=receipt.figure.score,
        stderr=receipt.figure.stderr,
        is_share=is_share(settings.task),
        num_samples=receipt.num_samples,
        num_failed=receipt.num_failed,
        published=published.get(settings.task, {}),
    )


def columns(found: Sequence[Row]) -> list[str]:
    """Who published anything of these benchmarks."""
    return list(dict.fromkeys(name for row in found for name in row.published))


def with_error(score: float, stderr: float | None, *, is_share: bool = True) -> str:
    """A score and its standard error: `61.59 ± 3.81 %`."""
    if stderr is None:
        return score_text(score, is_share=is_share)
    if is_share and abs(score) <= 1:
        return f"{100 * score:.2f} ± {100 * stderr:.2f} %"
    return f"{score:.4g} ± {stderr:.2g}"


def published_text(row: Row, name: str) -> str:
    """What somebody published of it; nothing where he did not."""
    if name not in row.published:
        return ""
    return score_text(row.published[name], is_share=row.is_share)


def samples_text(row: Row) -> str:
    """How many samples there were, and how many of them failed."""
    return f"{row.num_samples:,}" + (f" ({row.num_failed} failed)" if row.num_failed else "")


def markdown(runs: Sequence[Run], published: Published = _NOTHING) -> str:
    """A table with a line for each run; the published figures beside it."""
    found = rows(runs, published)
    names = columns(found)
    head = ["Benchmark", "Preset", "Shots", "Model", "Score ± standard error", "Samples", *names]
    lines = [_line(head), _line(["---"] * 2 + ["---:"] + ["---"] + ["---:"] * (2 + len(names)))]
    lines += [
        _line(
            [row.task, row.preset, str(row.shots), row.model]
            + [with_error(row.score, row.stderr, is_share=row.is_share), samples_text(row)]
            + [published_text(row, name) for name in names]
        )
        for row in found
    ]
    return "\n".join(lines) + "\n"


def as_json(runs: Sequence[Run], published: Published = _NOTHING) -> dict[str, Any]:
    """The receipts whole, and for each what was published; plain JSON."""
    return {
        "runs": [
            {
                **run.receipt.to_json(),
                "published": dict(published.get(run.receipt.settings.task, {})),
            }
            for run in runs
        ]
    }


def _line(cells: Sequence[str]) -> str:
    """A row of a table; nothing in a cell ends it, or is taken for HTML."""
    plain = [" ".join(cell.split()) for cell in cells]
    safe = [_escaped(cell) for cell in plain]
    return f"| {' | '.join(safe)} |"


def _escaped(cell: str) -> str:
    for mark, instead in (("&", "&amp;"), ("<", "&lt;"), ("\\", "\\\\"), ("|", "\\|")):
        cell = cell.replace(mark, instead)
    return cell

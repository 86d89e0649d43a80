"""Tables of cards: what was measured beside what was published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure
from tongwen.evals.printed import Published, models_of
from tongwen.evals.published import CARD, SAFETY, published
from tongwen.evals.suites import Row, Suite
from tongwen.evals.table import Line, Table
from tongwen.evals.tasks.safety import CATEGORIES, LANGUAGES

NOT_RUN = "not run"
_NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Measured:
    """A model and the figures that were measured of it."""

    name: str
    results: Mapping[str, Figure]
    """By the benchmark's name in the catalogue."""

    remarks: Sequence[str] = ()
    """What a reader of the figures must know."""


def card(suite: Suite, models: Sequence[Measured], against: Sequence[str] | None = None) -> Table:
    """The table of a card, our columns first.

    Args:
        suite: Which lines it has.
        models: Whose figures were measured.
        against: Published models beside them; `None`: Qwen2's sizes, largest first, then others.

    Raises:
        RequestError: Nothing was published of one of `against`; or a figure lacks what it needs.
    """
    others = models_shown(suite) if against is None else list(against)
    if unknown := set(others) - set(models_of(suite.published)):
        raise RequestError(f"the tables of `{suite.name}` have no model `{min(unknown)}`")
    lines = [_line(suite, row, models, others) for row in suite.rows]
    if suite.has_average:
        lines.append(_average(suite, models, others))
    return Table(
        title=suite.title,
        header=("", *(model.name for model in models), *others),
        lines=lines,
        notes=_notes(suite, models, others),
    )


def safety_table(models: Sequence[Measured]) -> Table:
    """Harmful answers in per cent, by language and category, as the card of Qwen2 prints them.

    Args:
        models: Whose figures of `safety` were measured; the published averages stand below them.
    """
    categories = tuple(CATEGORIES.values())
    lines = []
    for model in models:
        for language in LANGUAGES:
            rates = [_rate(model, f"{category}/{language}") for category in categories]
            lines.append(Line(cells=(language, *rates), section=model.name))
        rates = [_rate(model, category) for category in categories]
        lines.append(Line(cells=("all", *rates), section=model.name))
    for name in models_of(SAFETY):
        rates = [_printed(name, f"safety/{category}") for category in categories]
        lines.append(Line(cells=(name, *rates), section="Published, all languages"))
    return Table(
        title="Harmful answers, in per cent: less is better",
        header=("", *categories),
        lines=lines,
        notes=[
            *(_judged(model) for model in models if "safety" in model.results),
            f"Published: {SAFETY[0].source}; its prompts were not published",
        ],
    )


# ---- lines


def _line(suite: Suite, row: Row, models: Sequence[Measured], others: Sequence[str]) -> Line:
    ours = [_measured(row, model.results) for model in models]
    theirs = [_of_suite(suite, model, row) for model in others]
    return Line(cells=(row.title, *ours, *theirs), section=row.section)


def _measured(row: Row, results: Mapping[str, Figure]) -> str:
    found = row.value(results)
    if found is None:
        return NOT_RUN
    value, error = found
    said = f"{value:.{row.digits}f}"
    return said if error is None else f"{said} ± {error:.{row.digits}f}"


def _average(suite: Suite, models: Sequence[Measured], others: Sequence[str]) -> Line:
    cells = []
    for model in models:
        found = [row.value(model.results) for row in suite.rows]
        known = [each[0] for each in found if each is not None]
        whole = len(known) == len(found)
        cells.append(f"{sum(known) / len(known):.1f}" if whole else NOT_RUN)
    return Line(cells=("Average", *cells, *(_NOTHING for _ in others)))


def _of_suite(suite: Suite, model: str, row: Row) -> str:
    """What was published; where sources differ, the other one in brackets."""
    values = list(dict.fromkeys(f"{each:.{row.digits}f}" for each in quoted(suite, model, row)))
    if not values:
        return _NOTHING
    return values[0] if len(values) == 1 else f"{values[0]} ({', '.join(values[1:])})"


def quoted(suite: Suite, model: str, row: Row) -> list[float]:
    """What was published of a model; first in the source that the suite prefers."""
    found = [
        each
        for printed in suite.published
        for each in printed.figures()
        if (each.model, each.benchmark) == (model, row.title)
    ]
    ordered = sorted(found, key=lambda each: (each.source == CARD) != suite.prefers_card)
    return [each.value for each in ordered]


def models_shown(suite: Suite) -> list[str]:
    """Qwen2's sizes, the largest first, then all others as they were printed."""
    models = models_of(suite.published)
    sizes = ("Qwen2-72B", "Qwen2-57B-A14B", "Qwen2-7B", "Qwen2-1.5B", "Qwen2-0.5B")
    own = [model for size in sizes for model in models if model in (size, f"{size}-Instruct")]
    return [*own, *(model for model in models if model not in own)]


def _notes(suite: Suite, models: Sequence[Measured], others: Sequence[str]) -> list[str]:
    notes = [row.note for row in suite.rows if row.note]
    notes += [
        f"{row.title}: the mean of {', '.join(part.task for part in row.parts)}"
        for row in suite.rows
        if len(row.parts) > 1
    ]
    for model in models:
        notes += [f"{model.name}: {remark}" for remark in model.remarks]
        if absent := _half_run(suite.rows, model):
            notes.append(f"Not run on {model.name}: {', '.join(absent)}")
    shown = {each.source for each in _shown(suite, others)}
    sources = list(
        dict.fromkeys(table.source for table in suite.published if table.source in shown)
    )
    if sources:
        notes.append(f"Published: {'; '.join(sources)}")
    if suite.prefers_card and others:
        notes.append(
            "Where card and report differ, the card's figure, and the report's in brackets"
        )
    return notes


def _half_run(rows: Sequence[Row], model: Measured) -> list[str]:
    """What rows lack of which something was run."""
    found = [
        missing
        for row in rows
        if any(part.task in model.results for part in row.parts)
        for missing in row.missing(model.results)
    ]
    return list(dict.fromkeys(found))


def _shown(suite: Suite, models: Sequence[str]) -> list[Published]:
    titles, wanted = {row.title for row in suite.rows}, set(models)
    return [
        each
        for table in suite.published
        for each in table.figures()
        if each.model in wanted and each.benchmark in titles
    ]


# ---- safety


def _rate(model: Measured, name: str) -> str:
    figure = model.results.get("safety")
    found = None if figure is None else {**figure.metrics, **figure.groups}.get(name)
    return NOT_RUN if found is None else f"{100 * found:.2f}"


def _printed(model: str, benchmark: str) -> str:
    found = published(models=[model], benchmark=benchmark)
    return f"{found[0].value:.2f}" if found else _NOTHING


def _judged(model: Measured) -> str:
    metrics = model.results["safety"].metrics
    said = f"{model.name}: judge and refusal rule agree on {100 * metrics['agreement']:.0f} %"
    return f"{said}, kappa {metrics['kappa']:.2f}" if "kappa" in metrics else said

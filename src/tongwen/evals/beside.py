"""What was published of the Qwen2 models, under our names of benchmarks."""

from collections.abc import Iterable, Mapping

from tongwen.evals.cards import models_shown, quoted
from tongwen.evals.suites import CARD_BASE, CARD_INSTRUCT, Row, Suite

Figures = Mapping[str, Mapping[str, float]]
"""By benchmark, then by model."""


def published_beside(kinds: Iterable[bool], *, as_printed: bool = False) -> Figures:
    """The figures of the Qwen2 cards, where a benchmark has a line of its own.

    Args:
        kinds: Whether they are of the chat models (true), of the base models, or both.
        as_printed: In the card's unit, per cent or points, those too that were not measured quite
            like ours; else in the unit of `Figure.score`.
    """
    found: dict[str, dict[str, float]] = {}
    for is_chat in sorted(set(kinds)):
        suite = CARD_INSTRUCT if is_chat else CARD_BASE
        for row in suite.rows:
            # Of a mean of several none was published by itself; a note says what else differs.
            if len(row.parts) == 1 and (as_printed or not row.note):
                scale = 1.0 if as_printed else row.scale
                values = {model: value / scale for model, value in _figures(suite, row).items()}
                found.setdefault(row.parts[0].task, {}).update(values)
    return found


def _figures(suite: Suite, row: Row) -> dict[str, float]:
    models = [model for model in models_shown(suite) if model.startswith("Qwen2-")]
    quotes = {model: quoted(suite, model, row) for model in models}
    return {model: values[0] for model, values in quotes.items() if values}

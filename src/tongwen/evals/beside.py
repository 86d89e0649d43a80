"""What was published of the Qwen2 models, under our names of benchmarks."""

from collections.abc import Iterable, Mapping

from tongwen.evals.cards import quoted
from tongwen.evals.printed import models_of
from tongwen.evals.suites import CARD_BASE, CARD_INSTRUCT, Row, Suite


def published_beside(kinds: Iterable[bool]) -> Mapping[str, Mapping[str, float]]:
    """The figures of the Qwen2 cards by benchmark, then by model; in the unit of `Figure.score`.

    Args:
        kinds: Whether they are of the chat models (true), of the base models, or both.
    """
    found: dict[str, dict[str, float]] = {}
    for is_chat in sorted(set(kinds)):
        suite = CARD_INSTRUCT if is_chat else CARD_BASE
        for row in suite.rows:
            if len(row.parts) == 1:  # of a mean of several none was published by itself
                found.setdefault(row.parts[0].task, {}).update(_figures(suite, row))
    return found


def _figures(suite: Suite, row: Row) -> dict[str, float]:
    models = [model for model in models_of(suite.published) if model.startswith("Qwen2-")]
    quotes = {model: quoted(suite, model, row) for model in models}
    return {model: values[0] / row.scale for model, values in quotes.items() if values}

"""Tables as somebody printed them, and the figures in them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A figure that somebody printed."""

    model: str
    benchmark: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Printed:
    """A table as it was printed: a line of models, then a line for each benchmark."""

    source: str
    table: str
    ending: str = ""
    """What the table leaves off its models' names."""

    def figures(self) -> Iterator[Published]:
        """Its figures, line by line."""
        first, *lines = self.table.strip().splitlines()
        models = first.split()
        for line in lines:
            benchmark, *values = line.split()
            assert len(values) == len(models), f"`{line}` has a value for each model"
            for model, value in zip(models, values, strict=True):
                if value != "-":
                    yield Published(
                        model=model + self.ending,
                        benchmark=benchmark,
                        value=float(value),
                        source=self.source,
                    )


def models_of(tables: Iterable[Printed]) -> list[str]:
    """The models of tables, in their order."""
    return list(dict.fromkeys(each.model for printed in tables for each in printed.figures()))

"""Benchmarks with a file for each language or subject: those that are there are run."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure, macro
from tongwen.evals.pools import Pairs, apart, harness_shots, same_shots
from tongwen.evals.sample import Graded, Sample
from tongwen.evals.shots import Row
from tongwen.evals.task import Task
from tongwen.judge.benchmarks import Benchmarks


def rows_there(
    data: Benchmarks, files: Mapping[str, Sequence[str]], hint: str
) -> dict[str, list[Row]]:
    """The rows of each language (or subject) that has data.

    Args:
        data: Where files lie.
        files: By language the names that its file may have.
        hint: Where to get them.

    Raises:
        RequestError: None has, or a file is damaged.
    """
    found: dict[str, list[Row]] = {
        language: list(data.rows(*names))
        for language, names in files.items()
        if data.find(names) is not None
    }
    if not found:
        some = next(iter(files.values()))[0]
        raise RequestError(f"no file of the benchmark is there, such as `{some}`", hint=hint)
    return found


class InLanguages(Task):
    """A benchmark whose figure is the mean of its languages' figures."""

    tongues: ClassVar[Mapping[str, tuple[str, ...]]]
    """By language the names that its file may have."""

    spares: ClassVar[bool] = False
    """Whether the harness draws one more and spares the row that is asked (`harness_shots`)."""

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """Every language counts the same."""
        return macro(graded)

    def not_run(self) -> tuple[str, ...]:
        """Languages without data."""
        there = {sample.group for sample in self.samples()}
        return tuple(language for language in self.tongues if language not in there)

    def rows(self) -> dict[str, list[Row]]:
        """By language the rows that are there.

        Raises:
            RequestError: There are none.
        """
        return rows_there(self.setup.data, self.tongues, self.about.obtain)

    def with_shots(self, rows: Sequence[Row], pool: Sequence[Row], language: str) -> Pairs:
        """Each row with those shown before it: drawn in the preset `harness`, else the first.

        Raises:
            RequestError: `pool` has too few.
        """
        if self.setup.preset == "harness":
            return harness_shots(rows, pool, self.num_shots, spares=self.spares)
        return same_shots(rows, pool, self.num_shots, f"{self.about.title} in {language}")

    def own_shots(self, rows: Sequence[Row], language: str) -> Pairs:
        """As `with_shots`, of the very file that is asked.

        The harness draws from all of it and asks all of it, the row that is shown included; else
        the first rows are shown and not asked.

        Raises:
            RequestError: There are too few.
        """
        if self.setup.preset == "harness":
            return self.with_shots(rows, rows, language)
        pool, rest = apart(rows, self.num_shots)
        return self.with_shots(rest, pool, language)


def samples_of(pairs: Mapping[str, Pairs]) -> list[Sample]:
    """Samples by language, numbered within it."""
    return [
        Sample(id=f"{language}/{number}", row=row, group=language, shots=shots)
        for language, found in pairs.items()
        for number, (row, shots) in enumerate(found)
    ]

"""A sample of a benchmark, and what its answers are worth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One item of a benchmark."""

    id: str
    """Its name within the benchmark, the same in every run."""

    row: Mapping[str, Any]
    """What the file says of it."""

    group: str = ""
    """The subject or language that it belongs to, where figures of those are wanted."""

    shots: tuple[Mapping[str, Any], ...] = ()
    """Rows that are shown solved before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """What an answer is worth."""

    score: float
    """0 to 1, of the metric that the card prints; of `Weigh` what the task says."""

    parsed: str | None = None
    """What was taken for the answer; `None`: none was found."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    """Others, by name."""

    notes: Mapping[str, Any] = field(default_factory=dict)
    """Why, for whoever reads the transcript: plain JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """A sample with the grades of all its completions."""

    sample: Sample
    grades: tuple[Grade, ...]

    @property
    def score(self) -> float:
        """The mean over completions."""
        return sum(grade.score for grade in self.grades) / len(self.grades)

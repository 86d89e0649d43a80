"""What is kept of each sample: plain JSON, one line each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.evals.ask import Asked, answer_from, answer_json
from tongwen.evals.question import Answer
from tongwen.evals.sample import Grade, Graded, Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A sample that was asked and graded, or that failed."""

    id: str
    group: str = ""
    prompt: Any = None
    """What the model was given, as JSON."""

    prompt_digest: str | None = None
    """SHA-256 of the prompt's token ids."""

    answers: tuple[Answer, ...] = ()
    grades: tuple[Grade, ...] = ()
    failed: str | None = None
    """Why there is no grade; such a sample is counted apart and asked again by the next run."""

    def graded(self, sample: Sample) -> Graded:
        """With the sample that it is of."""
        return Graded(sample=sample, grades=self.grades)

    def to_json(self) -> dict[str, Any]:
        """As a line of the file holds it."""
        said = {
            "id": self.id,
            "group": self.group,
            "prompt": self.prompt,
            "prompt_sha256": self.prompt_digest,
            "answers": [answer_json(answer) for answer in self.answers],
            "grades": [_grade_json(grade) for grade in self.grades],
            "failed": self.failed,
        }
        return {name: value for name, value in said.items() if value not in (None, "", [])}

    def to_line(self) -> str:
        """That line.

        Raises:
            ValueError: It holds a number that JSON has no word for.
        """
        return line_of(self.to_json())


def record_of(sample: Sample, asked: Asked, grades: Sequence[Grade]) -> Record:
    """The record of a sample that was graded."""
    return Record(
        id=sample.id,
        group=sample.group,
        prompt=asked.prompt,
        prompt_digest=asked.prompt_digest,
        answers=asked.answers,
        grades=tuple(grades),
    )


def record_from(said: Mapping[str, Any]) -> Record:
    """A record from its line.

    Raises:
        LookupError, TypeError, ValueError: It is none.
    """
    return Record(
        id=str(said["id"]),
        group=str(said.get("group", "")),
        prompt=said.get("prompt"),
        prompt_digest=said.get("prompt_sha256"),
        answers=tuple(answer_from(each) for each in said.get("answers", ())),
        grades=_grades_from(said),
        failed=_text(said.get("failed")),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def line_of(said: Mapping[str, Any]) -> str:
    """An object as one line of UTF-8; the same object is always the same line.

    A half of a surrogate pair, which a completion may end with, is written as JSON's escape.
    """
    line = json.dumps(said, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return line.encode("utf-8", "backslashreplace").decode() + "\n"


def said_in(text: str) -> Any:  # noqa: ANN401 - JSON
    """What a JSON text says; numbers that JSON has no words for are refused.

    Raises:
        ValueError: It is no JSON.
    """
    return json.loads(text, parse_constant=_refuse)


def _refuse(name: str) -> float:
    raise ValueError(f"`{name}` is no number of JSON")


def _grade_json(grade: Grade) -> dict[str, Any]:
    said = {
        "score": grade.score,
        "parsed": grade.parsed,
        "metrics": dict(grade.metrics),
        "notes": dict(grade.notes),
    }
    return {name: value for name, value in said.items() if value not in (None, {})}


def _grades_from(said: Mapping[str, Any]) -> tuple[Grade, ...]:
    grades = tuple(_grade_from(each) for each in said.get("grades", ()))
    if said.get("failed") is None and (not grades or len(grades) != len(said.get("answers", ()))):
        raise ValueError(f"sample `{said['id']}` has {len(grades)} grades")
    return grades


def _grade_from(said: Mapping[str, Any]) -> Grade:
    return Grade(
        score=float(said["score"]),
        parsed=_text(said.get("parsed")),
        metrics=said.get("metrics", {}),
        notes=said.get("notes", {}),
    )

"""Every sample of a run as the report's page reads it: small, though prompts repeat themselves.

A benchmark shows the same solved rows before thousands of samples.  Paragraphs are therefore kept
once, and a prompt is the numbers of its paragraphs.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.evals.catalogue import is_share
from tongwen.evals.question import Answer
from tongwen.evals.record import Record
from tongwen.evals.runs import Run, score_of
from tongwen.evals.sample import Grade

_BREAK = "\n\n"


class Paragraphs:
    """Texts cut at empty lines; each paragraph is kept once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def add(self, text: str) -> list[int]:
        """The numbers of a text's paragraphs."""
        return [self._place(part) for part in text.split(_BREAK)]

    def text(self, numbers: Sequence[int]) -> str:
        """The text that has these."""
        return _BREAK.join(self.texts[number] for number in numbers)

    def _place(self, part: str) -> int:
        place = self._places.setdefault(part, len(self.texts))
        if place == len(self.texts):
            self.texts.append(part)
        return place


def transcripts(run: Run) -> dict[str, Any]:
    """All samples: their paragraphs, and what was asked, answered and judged."""
    paragraphs, share = Paragraphs(), is_share(run.receipt.settings.task)
    samples = [_sample(record, paragraphs, share=share) for record in run.records]
    return {"paragraphs": paragraphs.texts, "samples": samples}


def verdict(record: Record, *, share: bool = True) -> str:
    """`right`, `wrong`, `partly`, `failed`; `scored` where scores are no shares.

    How likely a text is, is none, whatever the benchmark's figure is.
    """
    if record.failed is not None:
        return "failed"
    score, is_weighed = score_of(record), isinstance(record.prompt, str) and not _wrote(record)
    if is_weighed or not (share and 0 <= score <= 1):
        return "scored"
    return {0.0: "wrong", 1.0: "right"}.get(score, "partly")


def _sample(record: Record, paragraphs: Paragraphs, *, share: bool) -> dict[str, Any]:
    turns, options, later = _prompt(record.prompt)
    said = {
        "id": record.id,
        "group": record.group,
        "verdict": verdict(record, share=share),
        "score": None if record.failed is not None else score_of(record),
        "prompt": [[label, paragraphs.add(text)] for label, text in turns],
        "options": options,
        "later": later,
        "answers": [_answer(*pair) for pair in _pairs(record)],
        "failed": record.failed,
        "digest": record.prompt_digest,
    }
    return {name: value for name, value in said.items() if value not in (None, "", [])}


def _wrote(record: Record) -> bool:
    return any(answer.turns for answer in record.answers)


def _pairs(record: Record) -> list[tuple[Answer, Grade | None]]:
    grades = [*record.grades, *[None] * (len(record.answers) - len(record.grades))]
    return list(zip(record.answers, grades, strict=False))


def _answer(answer: Answer, grade: Grade | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "turns": list(answer.turns),
        "finish": answer.finish_reason if answer.turns else None,
        "likelihoods": [[each.logprob, each.num_tokens] for each in answer.likelihoods],
    }
    if grade is not None:
        said |= {
            "score": grade.score,
            "parsed": grade.parsed,
            "metrics": dict(grade.metrics),
            "notes": {name: _plain(value) for name, value in grade.notes.items()},
        }
    return {name: value for name, value in said.items() if value not in (None, [], {})}


def _prompt(
    prompt: Any,  # noqa: ANN401 - JSON
) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """Labelled texts, the continuations that were ranked, and what was said after an answer."""
    match prompt:
        case None:
            return [], [], []
        case str():
            return [("prompt", prompt)], [], []
        case {"conversation": conversation, "then": list(later)}:
            return _prompt(conversation)[0], [], [str(each) for each in later]
        case [[str(), str()], *_]:
            contexts = list(dict.fromkeys(str(pair[0]) for pair in prompt))
            numbered = enumerate(contexts, start=1)
            labels = ["context"] if len(contexts) == 1 else [f"context {n}" for n, _ in numbered]
            return list(zip(labels, contexts, strict=True)), [str(pair[1]) for pair in prompt], []
        case [{"role": _}, *_]:
            return [_turn(turn) for turn in prompt], [], []
    return [("prompt", _plain(prompt))], [], []


def _turn(turn: Mapping[str, Any]) -> tuple[str, str]:
    return str(turn.get("role", "")), _plain(turn.get("content"))


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)

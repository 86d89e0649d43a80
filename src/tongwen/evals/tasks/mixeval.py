"""MixEval: questions of many benchmarks, mixed as users ask (Ni et al., arXiv 2406.06565)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure, mean, standard_error
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.task import About, Preset, Task
from tongwen.evals.verdict import Judge, label, rating
from tongwen.judge.choices import by_text

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FREE, _CHOICE = "free-form", "multiple-choice"

_JUDGE = """\
Below are a question, the answers that count as right, and the answer of an assistant.  Say how \
right the assistant is: 1 where it means the same as one of the right answers, 0 where it does \
not, and a value between them where it is right in part.  More words than needed are no fault; \
contradicting itself is one.  Explain in a sentence, then give the value in double brackets, such \
as [[1]], [[0.5]] or [[0]].

Question:
{question}

Right answers:
{targets}

The assistant's answer:
{answer}"""

_PICK_JUDGE = """\
Below are a question with lettered options and the answer of an assistant.  Say which option the \
assistant chose, not which is right.  Give its letter in double brackets, such as [[B]], and \
[[none]] where it chose none or several.

{question}

The assistant's answer:
{answer}"""


class MixEval(Task):
    """Free answers are judged; of choices the letter is read, by the judge where a rule cannot."""

    about = About(
        title="MixEval",
        paper="https://arxiv.org/abs/2406.06565",
        licence="Apache-2.0, and those of the benchmarks it draws from",
        files=(("mixeval/free-form",), ("mixeval/multiple-choice",)),
        obtain="https://github.com/Psycoy/MixEval, mix_eval/data/mixeval-2024-06-01/mixeval/*.json",
        metric="mean of the free-form and the multiple-choice score",
        takes_shots=False,
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.2.1; MixEval 2024-06-01, its means, "
                "asked and judged in words of our own",
                chat="one turn, greedy",
            )
        },
        needs=("judge",),
        hub={
            "mixeval/free-form": ("MixEval/MixEval", "MixEval/free_form.parquet"),
            "mixeval/multiple-choice": ("MixEval/MixEval", "MixEval/multiple_choice.parquet"),
        },
    )

    def samples(self) -> list[Sample]:
        """Free-form questions, then choices, in the order of their files."""
        found = []
        for kind in (_FREE, _CHOICE):
            for number, row in enumerate(self._rows(f"mixeval/{kind}")):
                name = f"{kind}/{row.get('id', number)}"
                found.append(
                    Sample(id=name, row={**row, "kind": kind}, group=row["benchmark_name"])
                )
        return found

    def question(self, sample: Sample) -> Question:
        """The question, with its options where it has some."""
        free = sample.row["kind"] == _FREE
        wish = "Answer in a few words." if free else "Answer with the letter of one option."
        asked = [{"role": "user", "content": f"{_problem(sample.row)}\n{wish}"}]
        return Generate(prompt=asked, params=self.setup.sampling(512))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """How right the judge finds it; whether it is the option of the key."""
        judge = Judge(self.judge, seed=self.setup.seed)
        if sample.row["kind"] == _CHOICE:
            return await _grade_choice(judge, sample.row, answer.text)
        targets = "\n".join(f"- {each}" for each in sample.row["target"])
        asked = _JUDGE.format(question=_problem(sample.row), targets=targets, answer=answer.text)
        verdict = await judge.verdict([{"role": "user", "content": asked}], _share)
        return Grade(score=verdict.value, parsed=answer.text, notes=verdict.notes)

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """The mean of both kinds (`compute_metrics.py` of MixEval)."""
        plain = mean(graded)
        kinds = {
            kind: [each.score for each in graded if each.sample.row["kind"] == kind]
            for kind in (_FREE, _CHOICE)
        }
        present = {kind: scores for kind, scores in kinds.items() if scores}
        means = {kind: fmean(scores) for kind, scores in present.items()}
        errors = [standard_error(scores) for scores in present.values()]
        known = [error for error in errors if error is not None]
        whole = sum(error**2 for error in known) ** 0.5 / len(known) if known else None
        score = fmean(means.values())
        return replace(plain, score=score, stderr=whole, metrics={**plain.metrics, **means})

    def _rows(self, name: str) -> list[Mapping[str, Any]]:
        """Rows of a list, or of an object that has them by their ids."""
        rows = self.setup.data.rows(name, hint=self.about.obtain)
        if len(rows) == 1 and all(isinstance(each, Mapping) for each in rows[0].values()):
            return [{"id": key, **row} for key, row in rows[0].items()]
        return list(rows)


async def _grade_choice(judge: Judge, row: Mapping[str, Any], said: str) -> Grade:
    letters = _LETTERS[: len(row["options"])]
    right = letters[_key(row)]
    letter = chosen(said, row["options"])
    if letter is not None:
        return Grade(score=float(letter == right), parsed=letter, notes={"read": "by rule"})
    asked = _PICK_JUDGE.format(question=_problem(row), answer=said)
    verdict = await judge.verdict(
        [{"role": "user", "content": asked}], lambda text: label(text, [*letters, "none"])
    )
    picked = None if verdict.value == "none" else verdict.value
    return Grade(score=float(picked == right), parsed=picked, notes=verdict.notes)


def chosen(said: str, options: Sequence[str]) -> str | None:
    """The option that an answer plainly names: by its letter, else the only option in it."""
    text, letters = said.strip(), _LETTERS[: len(options)]
    letter = rf"[(\[*]*([{letters}])(?=[)\]*.:]|\s*$)"
    for pattern in (letter, rf"(?i:the (?:correct )?answer is):?\s*{letter}"):
        if match := re.match(pattern, text):
            return match[1]
    place = by_text(text, list(options))
    return None if place is None else letters[place]


def _key(row: Mapping[str, Any]) -> int:
    """The place of the right option; the files have it as `[1]` and as `["1"]`."""
    place = int(row["target"][0])
    if not 0 <= place < len(row["options"]):
        raise RequestError(f"option {place} of {len(row['options'])} cannot be the right one")
    return place


def _problem(row: Mapping[str, Any]) -> str:
    context = f"{row['context']}\n\n" if row.get("context") else ""
    options = row.get("options") or ()
    listed = [f"{letter}. {each}" for letter, each in zip(_LETTERS, options, strict=False)]
    return "\n".join([f"{context}{row['prompt']}", *listed])


def _share(text: str) -> float | None:
    return rating(text, 0.0, 1.0)

"""MMLU: 57 subjects, four choices (Hendrycks et al., 2021, https://arxiv.org/abs/2009.03300)."""

from collections.abc import Mapping
from typing import Any

from tongwen.evals.question import Answer, Generate, Question, Rank
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.task import About, Preset, Task
from tongwen.judge.choices import first_capital

_LETTERS = "ABCD"


class Mmlu(Task):
    """Which letter is the likeliest after the question; chat models write it."""

    about = About(
        title="MMLU",
        paper="https://arxiv.org/abs/2009.03300",
        licence="MIT",
        files=(("mmlu/test",), ("mmlu/dev",)),
        obtain="https://github.com/hendrycks/test, or `cais/mmlu` on the Hugging Face hub",
        metric="accuracy over questions, of the likeliest of ` A`, ` B`, ` C`, ` D`",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot; OpenCompass mmlu_ppl and mmlu_gen",
                shots=5,
                base="likeliest letter",
                chat="shots as turns, the first capital letter of the answer",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4, `mmlu` with 5 shots",
                shots=5,
                base="likeliest letter",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, with the first rows of their subject's dev set."""
        hint = self.about.obtain
        shots: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.setup.data.rows("mmlu/dev", hint=hint):
            shots.setdefault(row["subject"], []).append(row)
        return [
            Sample(
                id=str(number),
                row=row,
                group=row["subject"],
                shots=tuple(shots.get(row["subject"], ())[: self.num_shots]),
            )
            for number, row in enumerate(self.setup.data.rows("mmlu/test", hint=hint))
        ]

    def question(self, sample: Sample) -> Question:
        """The likelihood of each letter; of a chat model its answer after solved ones."""
        if self.asks_in_turns:
            return Generate(prompt=_turns(sample), params=self.setup.sampling(16))
        told = [_problem(shot) + f" {_LETTERS[shot['answer']]}\n\n" for shot in sample.shots]
        context = _head(sample) + "".join(told) + _problem(sample.row)
        return Rank(pairs=tuple((context, f" {letter}") for letter in _LETTERS))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether it is the letter of the key."""
        if self.asks_in_turns:
            letter = first_capital(answer.text)
        else:
            letter = _LETTERS[answer.best]
        return Grade(score=float(letter == _LETTERS[sample.row["answer"]]), parsed=letter)


def _head(sample: Sample) -> str:
    subject = sample.group.replace("_", " ")
    return f"The following are multiple choice questions (with answers) about {subject}.\n\n"


def _problem(row: Mapping[str, Any]) -> str:
    choices = "\n".join(f"{letter}. {row[f'choice{i}']}" for i, letter in enumerate(_LETTERS))
    return f"{row['question'].strip()}\n{choices}\nAnswer:"


def _turns(sample: Sample) -> list[dict[str, str]]:
    subject = sample.group.replace("_", " ")
    wish = f"There is a single choice question about {subject}. Reply with A, B, C or D.\n"
    turns: list[dict[str, str]] = []
    for shot in sample.shots:
        turns.append({"role": "user", "content": wish + _problem(shot)})
        turns.append({"role": "assistant", "content": _LETTERS[shot["answer"]]})
    return [*turns, {"role": "user", "content": wish + _problem(sample.row)}]

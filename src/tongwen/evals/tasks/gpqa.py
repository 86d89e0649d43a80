"""GPQA: questions that a search does not answer (Rein et al., 2023, arXiv 2311.12022)."""

import random
import re

from tongwen.evals.question import Answer, Generate, Question, Rank
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.shots import Row, set_apart, turns
from tongwen.evals.task import About, Preset, Task
from tongwen.judge.choices import alone

_LETTERS = "ABCD"
_SETS = ("main", "diamond", "extended")


class Gpqa(Task):
    """Which of four letters is the likeliest after the question; chat models write it.

    The file names the right choice first, so the choices are put in an order of their own for each
    question, drawn by its identifier: the same in every run, whichever rows are asked.
    """

    about = About(
        title="GPQA",
        paper="https://arxiv.org/abs/2311.12022",
        licence="CC BY 4.0; its authors ask that no question be published as plain text",
        files=(tuple(f"gpqa/gpqa_{name}" for name in _SETS),),
        obtain="https://github.com/idavidrein/gpqa: dataset.zip, its password in the README; or "
        "the gated `Idavidrein/gpqa` on the Hugging Face hub: gpqa_main.csv into gpqa/",
        metric="accuracy over questions, less the five that are shown solved",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1, 5-shot; which five the report does not tell",
                shots=5,
                base="likeliest letter",
                chat="shots as turns, the letter of the answer",
            ),
            "zero-shot": Preset(
                source="GPQA, baselines, zero-shot",
                base="likeliest letter",
                chat="step by step, the letter behind `answer is`",
            ),
        },
        hub={f"gpqa/gpqa_{name}": ("Idavidrein/gpqa", f"gpqa_{name}.csv") for name in _SETS},
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, less those that are shown."""
        rows = [
            _shuffled(row)
            for row in self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        ]
        shown, apart = set_apart(rows, self.num_shots, lambda _: "all")
        return [
            Sample(id=row["id"], row=row, group=row["group"], shots=shown["all"])
            for number, row in enumerate(rows)
            if number not in apart
        ]

    def question(self, sample: Sample) -> Question:
        """The likelihood of each letter; of a chat model its answer."""
        if not self.asks_in_turns:
            told = "".join(f"{_problem(shot)} ({shot['key']})\n\n" for shot in sample.shots)
            context = told + _problem(sample.row)
            return Rank(pairs=tuple((context, f" ({letter})") for letter in _LETTERS))
        solved = [(_wish(shot), f"The answer is ({shot['key']}).") for shot in sample.shots]
        wish = _wish(sample.row)
        if not solved:
            wish = f"Think step by step, then answer.\n\n{wish}"
        max_tokens = 64 if solved else 2048
        return Generate(prompt=turns(solved, wish), params=self.setup.sampling(max_tokens))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether it is the letter of the right choice."""
        letter = _picked(answer.text) if self.asks_in_turns else _LETTERS[answer.best]
        return Grade(score=float(letter == sample.row["key"]), parsed=letter)


def _shuffled(row: Row) -> Row:
    choices = [row["Correct Answer"], *(row[f"Incorrect Answer {i}"] for i in (1, 2, 3))]
    name = row.get("Record ID") or row["Question"]
    order = list(range(len(choices)))
    random.Random(name).shuffle(order)
    return {
        "id": name,
        "group": row.get("High-level domain") or "",
        "question": row["Question"].strip(),
        "choices": [choices[place].strip() for place in order],
        "key": _LETTERS[order.index(0)],
    }


def _problem(row: Row) -> str:
    lines = zip(_LETTERS, row["choices"], strict=True)
    choices = "\n".join(f"({letter}) {choice}" for letter, choice in lines)
    return f"Question: {row['question']}\nChoices:\n{choices}\nAnswer:"


def _wish(row: Row) -> str:
    problem = _problem(row).removesuffix("\nAnswer:")
    return f"{problem}\nEnd with: The answer is (X), where X is A, B, C or D."


def _picked(text: str) -> str | None:
    plain = re.sub(r"[*$`]|\\boxed|\\text|[{}]", "", text)
    found = re.findall(r"[Aa]nswer(?: is)?:?\s*\(?([ABCD])\b", plain)
    return found[-1] if found else alone(plain, _LETTERS)

"""MMLU-Pro: up to ten choices, reasoned (Wang et al., 2024, https://arxiv.org/abs/2406.01574)."""

import re
from collections.abc import Sequence

from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.shots import Apart, Row, first, set_apart
from tongwen.evals.task import About, Preset, Task
from tongwen.judge.choices import TEN, mmlu_pro

_VALIDATION = "mmlu_pro/validation"
_HEAD = (
    "The following are multiple choice questions (with answers) about {}. Think step by step and "
    'then finish your answer with "the answer is (X)" where X is the correct letter choice.\n'
)
_STEPS = "Let's think step by step."


class MmluPro(Task):
    """The letter that a chain of thought names at its end.

    The worked examples are the validation rows of the category.  Where those are not there, test
    rows are set apart and shown with the letter alone: they hold no reasoning.  The notes of each
    sample say which it was.
    """

    about = About(
        title="MMLU-Pro",
        paper="https://arxiv.org/abs/2406.01574",
        licence="Apache-2.0",
        files=(("mmlu_pro/test", "mmlu_pro/test_sample5000"),),
        obtain="`TIGER-Lab/MMLU-Pro` on the Hugging Face hub: test, and validation for the worked "
        "examples",
        metric="accuracy over questions of the letter behind `answer is`",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1, 5-shot; MMLU-Pro's own prompt and its three "
                "rules for the letter",
                shots=5,
                base="worked examples before it",
                chat="worked examples in one message",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `mmlu_pro`: custom-extract",
                shots=5,
                base="worked examples before it",
            ),
        },
        hub={
            "mmlu_pro/test": ("TIGER-Lab/MMLU-Pro", "data/test-00000-of-00001.parquet"),
            _VALIDATION: ("TIGER-Lab/MMLU-Pro", "data/validation-00000-of-00001.parquet"),
        },
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, grouped by category, less those that are shown."""
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        shown, apart = self._shown(rows)
        return [
            Sample(
                id=str(row["question_id"]),
                row=row,
                group=row["category"],
                shots=shown.get(row["category"], ()),
            )
            for number, row in enumerate(rows)
            if number not in apart
        ]

    def question(self, sample: Sample) -> Question:
        """Worked questions of the category, then this one."""
        told = "".join(f"{_problem(shot)} {_worked(shot)}\n\n" for shot in sample.shots)
        text = _HEAD.format(sample.group) + told + _problem(sample.row)
        if self.asks_in_turns:
            asked = [{"role": "user", "content": text}]
            return Generate(prompt=asked, params=self.setup.sampling(2048))
        return Generate(prompt=text, params=self.setup.sampling(2048, ("Question:",)))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether it is the letter of the key."""
        if self.setup.preset == "harness":
            match = re.search(r"answer is \(?([ABCDEFGHIJ])\)?", answer.text)
            letter = match[1] if match else None
        else:
            letter = mmlu_pro(answer.text)
        reasoned = all(shot.get("cot_content") for shot in sample.shots)
        return Grade(
            score=float(letter == sample.row["answer"]),
            parsed=letter,
            notes={"examples": "worked" if reasoned else "letters alone"},
        )

    def _shown(self, rows: Sequence[Row]) -> Apart:
        if not self.num_shots:
            return {}, set()
        if self.setup.data.find((_VALIDATION,)) is None:
            return set_apart(rows, self.num_shots, lambda row: row["category"])
        pools: dict[str, list[Row]] = {}
        for row in self.setup.data.rows(_VALIDATION, hint=self.about.obtain):
            pools.setdefault(row["category"], []).append(row)
        return {
            name: first(pool, self.num_shots, self.about.title) for name, pool in pools.items()
        }, set()


def _problem(row: Row) -> str:
    options = "".join(
        f"{letter}. {option.strip()}\n" for letter, option in zip(TEN, row["options"], strict=False)
    )
    return f"Question:\n{row['question']}\nOptions:\n{options}Answer: {_STEPS}"


def _worked(row: Row) -> str:
    told: str = row.get("cot_content") or f"The answer is ({row['answer']})."
    return told.removeprefix(f"A: {_STEPS} ")

"""TheoremQA: theorems applied (Chen et al., 2023, https://arxiv.org/abs/2305.12524)."""

import asyncio
import json
import re
import weakref

from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Sample
from tongwen.evals.shots import Row, first, turns
from tongwen.evals.task import About, Preset, Setup, Task
from tongwen.judge.symbolic import Symbolic, UndecidedError
from tongwen.judge.theorems import Gold, Theorems, final

_TASK = "Solve the problem. End with a line that says: The answer is ...\n\n"
_ENDING = re.compile(r"answer is|\\boxed")


class TheoremQa(Task):
    """A number, a truth, an option or a list at the end of a worked solution."""

    about = About(
        title="TheoremQA",
        paper="https://arxiv.org/abs/2305.12524",
        licence="MIT",
        files=(("theoremqa/test",), ("theoremqa/fewshot_examples",)),
        obtain="https://github.com/TIGER-AI-Lab/TheoremQA: theoremqa_test.json, and the list of "
        "examples.py as rows of `question`, `answer`",
        metric="accuracy over the questions without a picture: whole numbers after rounding, "
        "others within 4 %, truths and options exactly",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1, 5-shot; TheoremQA's exemplars and comparison",
                shots=5,
                base="worked examples before it",
                chat="the same as turns",
            ),
        },
        hub={"theoremqa/test": ("TIGER-Lab/TheoremQA", "data/test-00000-of-00001.parquet")},
    )

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        symbolic = Symbolic()
        weakref.finalize(self, symbolic.close)
        self._theorems = Theorems(symbolic)

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, less those that show a picture."""
        files, hint = self.about.files, self.about.obtain
        pool = self.setup.data.rows(*files[1], hint=hint) if self.num_shots else []
        shots = first(pool, self.num_shots, self.about.title)
        return [
            Sample(id=str(row.get("id", number)), row=row, group=row["Answer_type"], shots=shots)
            for number, row in enumerate(self.setup.data.rows(*files[0], hint=hint))
            if not row["Picture"]
        ]

    def question(self, sample: Sample) -> Question:
        """Solved questions, then this one."""
        solved = [(shot["question"], shot["answer"]) for shot in sample.shots]
        if self.asks_in_turns:
            asked = turns(solved, sample.row["Question"], _TASK.strip())
            return Generate(prompt=asked, params=self.setup.sampling(1024))
        told = "".join(f"Problem:\n{asked}\nSolution:\n{answer}\n\n" for asked, answer in solved)
        return Generate(
            prompt=f"{_TASK}{told}Problem:\n{sample.row['Question']}\nSolution:\n",
            params=self.setup.sampling(1024, ("Problem:",)),
        )

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether it is the key's, by the kind of answer; a solution that was cut off has none."""
        if answer.finish_reason == "length" and not _ENDING.search(answer.text):
            return Grade(score=0.0)
        kind, said = sample.row["Answer_type"], final(answer.text) or None
        try:
            is_right = await asyncio.to_thread(
                self._theorems.right, answer.text, _gold(sample.row), kind
            )
        except UndecidedError as error:
            return Grade(score=0.0, parsed=said, notes={"undecided": str(error)})
        return Grade(score=float(is_right), parsed=said)


def _gold(row: Row) -> Gold:
    """The key; the hub writes numbers, lists and truths as text."""
    key: Gold = row["Answer"]
    if not isinstance(key, str) or row["Answer_type"] == "option":
        return key
    read: Gold = json.loads(key.lower() if row["Answer_type"] == "bool" else key)
    return read

"""CMMLU: 67 subjects in Chinese (Li et al., 2023, https://arxiv.org/abs/2306.09212)."""

from collections.abc import Mapping
from typing import Any

from tongwen.evals.chinese import ChineseExam, presets
from tongwen.evals.lettered import Problem, lettered
from tongwen.evals.pools import same_shots
from tongwen.evals.sample import Sample
from tongwen.evals.shots import Row
from tongwen.evals.subjects import CMMLU
from tongwen.evals.task import About


class Cmmlu(ChineseExam):
    """Which letter is the likeliest after the question; chat models write it."""

    subjects = CMMLU

    about = About(
        title="CMMLU",
        paper="https://arxiv.org/abs/2306.09212",
        licence="CC BY-NC-SA 4.0",
        files=(("cmmlu/test",), ("cmmlu/dev",)),
        obtain="https://github.com/haonan-li/CMMLU, `data`, as cmmlu/test/SUBJECT.csv and "
        "cmmlu/dev/SUBJECT.csv",
        metric="accuracy of the likeliest letter, mean over 67 subjects; `harness`: over questions",
        presets=presets("cmmlu"),
    )

    def samples(self) -> list[Sample]:
        """Questions by subject, with the first rows of its dev part."""
        solved = self._rows("dev")
        return [
            Sample(id=f"{subject}/{number}", row=row, group=subject, shots=shots)
            for subject, rows in self._rows("test").items()
            for number, (row, shots) in enumerate(
                same_shots(rows, solved.get(subject, ()), self.num_shots, f"CMMLU, {subject}")
            )
        ]

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """A row of the archive."""
        return lettered(row["Question"], [row[letter] for letter in "ABCD"], row["Answer"])

    def head(self, sample: Sample) -> str:
        """What the questions are about."""
        return f"以下是关于{self.subject(sample)}的单项选择题，请直接给出正确答案的选项。\n\n"

    def _rows(self, part: str) -> dict[str, list[Row]]:
        return self.by_subject((f"cmmlu/{part}",), f"cmmlu/{part}/{{subject}}")

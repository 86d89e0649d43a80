"""CMMLU: 67 subjects in Chinese (Li et al., 2023, https://arxiv.org/abs/2306.09212)."""

from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.evals.figure import Figure, macro, mean
from tongwen.evals.languages import rows_there
from tongwen.evals.lettered import Lettered, Problem, lettered
from tongwen.evals.pools import by_group, same_shots
from tongwen.evals.sample import Graded, Sample
from tongwen.evals.shots import Row
from tongwen.evals.subjects import CMMLU
from tongwen.evals.task import About, Preset, Setup
from tongwen.judge.choices import chinese


class Cmmlu(Lettered):
    """Which letter is the likeliest after the question; chat models write it."""

    about = About(
        title="CMMLU",
        paper="https://arxiv.org/abs/2306.09212",
        licence="CC BY-NC-SA 4.0",
        files=(("cmmlu/test",), ("cmmlu/dev",)),
        obtain="https://github.com/haonan-li/CMMLU, `data`, as cmmlu/test/SUBJECT.csv and "
        "cmmlu/dev/SUBJECT.csv",
        metric="accuracy of the likeliest letter, mean over 67 subjects; `harness`: over questions",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot",
                shots=5,
                base="likeliest letter",
                chat="shots as turns, the letter that the answer settles on",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `cmmlu` with 5 shots",
                shots=5,
                base="likeliest letter",
            ),
        },
    )

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.joint = " " if setup.preset == "harness" else ""

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
        subject = CMMLU.get(sample.group, sample.group)
        return f"以下是关于{subject}的单项选择题，请直接给出正确答案的选项。\n\n"

    def cue(self, sample: Sample) -> str:
        """What calls for the answer."""
        return "答案："

    def wish(self, sample: Sample) -> str:
        """What a chat model is told before each question."""
        return f"{self.head(sample).strip()}只回答选项字母。\n"

    def letter(self, text: str, letters: str) -> str | None:
        """The letter that a Chinese answer settles on."""
        return chinese(text, letters)

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """Every subject counts the same; in the harness, every question."""
        return mean(graded) if self.setup.preset == "harness" else macro(graded)

    def _rows(self, part: str) -> dict[str, list[Row]]:
        data, whole = self.setup.data, (f"cmmlu/{part}",)
        if data.find(whole) is not None:
            return by_group(data.rows(*whole), lambda row: row["subject"])
        files = {subject: (f"cmmlu/{part}/{subject}",) for subject in CMMLU}
        return rows_there(data, files, self.about.obtain)

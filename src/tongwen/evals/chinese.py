"""Chinese exams by subject: lettered questions, and what C-Eval and CMMLU have in common."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tongwen.evals.figure import Figure, macro, mean
from tongwen.evals.languages import rows_there
from tongwen.evals.lettered import Lettered
from tongwen.evals.pools import by_group
from tongwen.evals.sample import Graded, Sample
from tongwen.evals.shots import Row
from tongwen.evals.task import Preset, Setup
from tongwen.judge.choices import chinese


class ChineseExam(Lettered):
    """Which letter is the likeliest after the question; chat models write it."""

    subjects: ClassVar[Mapping[str, str]]
    """Their names in Chinese, by those of their files."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.joint = " " if setup.preset == "harness" else ""

    def subject(self, sample: Sample) -> str:
        """What a question is about."""
        return self.subjects.get(sample.group, sample.group)

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

    def by_subject(self, whole: Sequence[str], part: str) -> dict[str, list[Row]]:
        """Rows of one file with a column `subject`, or else of a file for each.

        Args:
            whole: Names of the one file.
            part: Of the others, with `{subject}` in it.

        Raises:
            RequestError: There is neither.
        """
        data = self.setup.data
        if data.find(whole) is not None:
            return by_group(data.rows(*whole), lambda row: row["subject"])
        files = {subject: (part.format(subject=subject),) for subject in self.subjects}
        return rows_there(data, files, self.about.obtain)


def presets(harness: str) -> dict[str, Preset]:
    """Both ways that they are run.

    Args:
        harness: The name in lm-evaluation-harness.
    """
    return {
        "qwen2-report": Preset(
            source="Qwen2 Technical Report, 5.1: 5-shot",
            shots=5,
            base="likeliest letter",
            chat="shots as turns, the letter that the answer settles on",
        ),
        "harness": Preset(
            source=f"lm-evaluation-harness 0.4.13, `{harness}` with 5 shots",
            shots=5,
            base="likeliest letter",
        ),
    }

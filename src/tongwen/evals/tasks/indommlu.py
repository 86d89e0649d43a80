"""IndoMMLU: Indonesian exams (Koto et al., 2023, https://arxiv.org/abs/2310.04928)."""

from collections.abc import Mapping
from typing import Any

from tongwen.evals.lettered import Lettered, Problem
from tongwen.evals.pools import by_group
from tongwen.evals.sample import Sample
from tongwen.evals.shots import Row, first
from tongwen.evals.task import About, Preset


class IndoMmlu(Lettered):
    """Which letter is the likeliest after the question; chat models write it."""

    about = About(
        title="IndoMMLU",
        paper="https://arxiv.org/abs/2310.04928",
        licence="CC BY-NC-SA 4.0",
        files=(("indommlu/IndoMMLU", "indommlu/indoMMLU"),),
        obtain="https://github.com/fajri91/IndoMMLU, data/IndoMMLU.csv",
        metric="accuracy over questions, of the likeliest letter",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 3-shot; the rows that its authors set apart",
                shots=3,
                base="likeliest letter",
                chat="shots as turns, the first letter of the answer that stands alone",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, with rows of their subject that are for showing.

        Questions whose key names no choice are left out: the published file has two.
        """
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        solved = by_group([row for row in rows if _is_shown(row)], lambda row: row["subject"])
        return [
            Sample(
                id=str(number),
                row=row,
                group=row["subject"],
                shots=first(solved.get(row["subject"], ()), self._num(row, solved), "IndoMMLU"),
            )
            for number, row in enumerate(rows)
            if not _is_shown(row) and self.problem(row).answer in self.problem(row).letters
        ]

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Question and choices, which one cell holds, a line each."""
        lines = [line.strip() for line in row["jawaban"].split("\n") if line.strip()]
        letters = "".join(line[0] for line in lines)
        text = "\n".join([row["soal"].strip(), *lines])
        return Problem(text=text, answer=row["kunci"].strip().upper(), letters=letters)

    def head(self, sample: Sample) -> str:
        """What the questions are about."""
        row = sample.row
        about = f"Ini adalah soal {row['subject']} untuk {row['level']}."
        return f"{about} Pilihlah salah satu jawaban yang dianggap benar!\n\n"

    def cue(self, sample: Sample) -> str:
        """What calls for the answer."""
        return "Jawaban:"

    def wish(self, sample: Sample) -> str:
        """What a chat model is told before each question."""
        return f"{self.head(sample).strip()} Jawab dengan huruf saja.\n"

    def _num(self, row: Row, solved: Mapping[str, list[Row]]) -> int:
        """Subjects with fewer rows to show show what they have."""
        return min(self.num_shots, len(solved.get(row["subject"], ())))


def _is_shown(row: Row) -> bool:
    return str(row["is_for_fewshot"]) == "1"

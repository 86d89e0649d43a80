"""C-Eval: 52 subjects in Chinese (Huang et al., 2023, https://arxiv.org/abs/2305.08322)."""

from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.errors import RequestError
from tongwen.evals.chinese import ChineseExam, presets
from tongwen.evals.lettered import Problem, lettered
from tongwen.evals.pools import Pairs, apart, same_shots
from tongwen.evals.sample import Sample
from tongwen.evals.shots import Row
from tongwen.evals.subjects import CEVAL
from tongwen.evals.task import About

_WHOLE = ("ceval/val", "ceval/val_zhs_reconverted")


class CEval(ChineseExam):
    """Which letter is the likeliest after the question; chat models write it.

    The keys of its test part are hidden: the validation part is scored, as everybody does.
    """

    subjects = CEVAL

    about = About(
        title="C-Eval",
        paper="https://arxiv.org/abs/2305.08322",
        licence="CC BY-NC-SA 4.0",
        files=(_WHOLE,),
        obtain="ceval-exam.zip of `ceval/ceval-exam` on the Hugging Face hub, unpacked as "
        "ceval/val/SUBJECT_val.csv and ceval/dev/SUBJECT_dev.csv; without dev five rows of each "
        "subject are shown and not asked",
        metric="accuracy of the likeliest letter, mean over 52 subjects; `harness`: over questions",
        presets=presets("ceval-valid"),
    )

    def samples(self) -> list[Sample]:
        """Questions by subject, with the first rows of its dev part."""
        rows, solved = self.by_subject(_WHOLE, "ceval/val/{subject}_val"), self._solved()
        return [
            Sample(id=f"{subject}/{number}", row=row, group=subject, shots=shots)
            for subject, asked in rows.items()
            for number, (row, shots) in enumerate(self._pairs(subject, asked, solved))
        ]

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """A row of the archive, or of a file with `options` and `ground_truth`."""
        choices = row.get("options") or row
        answer = row.get("answer") or row["ground_truth"]
        return lettered(row["question"], [choices[letter] for letter in "ABCD"], answer)

    def head(self, sample: Sample) -> str:
        """What the questions are about."""
        return f"以下是中国关于{self.subject(sample)}的单项选择题，请选出其中的正确答案。\n\n"

    def _solved(self) -> dict[str, list[Row]]:
        try:
            return self.by_subject(("ceval/dev",), "ceval/dev/{subject}_dev")
        except RequestError:
            return {}

    def _pairs(
        self, subject: str, asked: Sequence[Row], solved: Mapping[str, Sequence[Row]]
    ) -> Pairs:
        pool = solved.get(subject)
        if pool is None:
            pool, asked = apart(asked, 5)
        return same_shots(asked, pool, self.num_shots, f"C-Eval, {subject}")

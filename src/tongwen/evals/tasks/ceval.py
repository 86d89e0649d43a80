"""C-Eval: 52 subjects in Chinese (Huang et al., 2023, https://arxiv.org/abs/2305.08322)."""

from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure, macro, mean
from tongwen.evals.languages import rows_there
from tongwen.evals.lettered import Lettered, Problem, lettered
from tongwen.evals.pools import Pairs, apart, by_group, same_shots
from tongwen.evals.sample import Graded, Sample
from tongwen.evals.shots import Row
from tongwen.evals.subjects import CEVAL
from tongwen.evals.task import About, Preset, Setup
from tongwen.judge.choices import chinese

_WHOLE = ("ceval/val", "ceval/val_zhs_reconverted")


class CEval(Lettered):
    """Which letter is the likeliest after the question; chat models write it.

    The keys of its test part are hidden: the validation part is scored, as everybody does.
    """

    about = About(
        title="C-Eval",
        paper="https://arxiv.org/abs/2305.08322",
        licence="CC BY-NC-SA 4.0",
        files=(_WHOLE,),
        obtain="ceval-exam.zip of `ceval/ceval-exam` on the Hugging Face hub, unpacked as "
        "ceval/val/SUBJECT_val.csv and ceval/dev/SUBJECT_dev.csv; without dev five rows of each "
        "subject are shown and not asked",
        metric="accuracy of the likeliest letter, mean over 52 subjects; `harness`: over questions",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot",
                shots=5,
                base="likeliest letter",
                chat="shots as turns, the letter that the answer settles on",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `ceval-valid` with 5 shots",
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
        rows, solved = self._rows("val", _WHOLE), self._solved()
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
        subject = CEVAL.get(sample.group, sample.group)
        return f"以下是中国关于{subject}的单项选择题，请选出其中的正确答案。\n\n"

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

    def _rows(self, part: str, whole: Sequence[str]) -> dict[str, list[Row]]:
        data, hint = self.setup.data, self.about.obtain
        if data.find(whole) is not None:
            return by_group(data.rows(*whole), lambda row: row["subject"])
        files = {subject: (f"ceval/{part}/{subject}_{part}",) for subject in CEVAL}
        return rows_there(data, files, hint)

    def _solved(self) -> dict[str, list[Row]]:
        try:
            return self._rows("dev", ("ceval/dev",))
        except RequestError:
            return {}

    def _pairs(
        self, subject: str, asked: Sequence[Row], solved: Mapping[str, Sequence[Row]]
    ) -> Pairs:
        pool = solved.get(subject)
        if pool is None:
            pool, asked = apart(asked, 5)
        return same_shots(asked, pool, self.num_shots, f"C-Eval, {subject}")

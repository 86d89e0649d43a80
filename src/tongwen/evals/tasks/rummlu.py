"""ruMMLU: MMLU in Russian (Fenogenova et al., 2024, MERA, https://arxiv.org/abs/2401.04531)."""

from collections.abc import Mapping
from typing import Any

from tongwen.evals.lettered import Lettered, Problem, lettered
from tongwen.evals.pools import by_group
from tongwen.evals.sample import Sample
from tongwen.evals.shots import Row, first
from tongwen.evals.task import About, Preset


class RuMmlu(Lettered):
    """Which letter is the likeliest after the question; chat models write it.

    MERA hides the keys of its test part: what is scored is a file that has them.
    """

    about = About(
        title="ruMMLU",
        paper="https://arxiv.org/abs/2401.04531",
        licence="MIT",
        files=(("rummlu/test",), ("rummlu/dev", "rummlu/train")),
        obtain="`NLPCoreTeam/mmlu_ru` on the Hugging Face hub, its subjects joined as rummlu/test "
        "and rummlu/dev; or MERA's rummlu with keys",
        metric="accuracy over questions, of the likeliest letter",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot",
                shots=5,
                base="likeliest letter",
                chat="shots as turns, the first letter of the answer that stands alone",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, with rows of their subject's dev part."""
        data, hint = self.setup.data, self.about.obtain
        asked, shown = (data.rows(*names, hint=hint) for names in self.about.files)
        solved = by_group(shown, _subject)
        return [
            Sample(
                id=str(number),
                row=row,
                group=_subject(row),
                shots=first(solved.get(_subject(row), ()), self.num_shots, _subject(row)),
            )
            for number, row in enumerate(asked)
        ]

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """A row of `mmlu_ru`, or of MERA."""
        if "inputs" in row:
            told = row["inputs"]
            choices = [told[f"option_{letter}"] for letter in "abcd"]
            return lettered(told["text"], choices, row["outputs"])
        return lettered(row["question_ru"], row["choices_ru"], int(row["answer"]))

    def head(self, sample: Sample) -> str:
        """What the questions are about."""
        return f"Ниже приведены вопросы с выбором ответа по теме {sample.group}.\n\n"

    def cue(self, sample: Sample) -> str:
        """What calls for the answer."""
        return "Ответ:"

    def wish(self, sample: Sample) -> str:
        """What a chat model is told before each question."""
        return "Выберите правильный ответ и напишите только его букву: A, B, C или D.\n"


def _subject(row: Row) -> str:
    found = row["inputs"]["subject"] if "inputs" in row else row["subject"]
    return str(found).replace("_", " ")

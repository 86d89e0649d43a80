"""MMLU: 57 subjects, four choices (Hendrycks et al., 2021, https://arxiv.org/abs/2009.03300)."""

from collections.abc import Mapping
from typing import Any

from tongwen.evals.lettered import Lettered, Problem, lettered
from tongwen.evals.pools import by_group
from tongwen.evals.sample import Sample
from tongwen.evals.shots import first
from tongwen.evals.task import About, Preset


class Mmlu(Lettered):
    """Which letter is the likeliest after the question; chat models write it."""

    about = About(
        title="MMLU",
        paper="https://arxiv.org/abs/2009.03300",
        licence="MIT",
        files=(("mmlu/test",), ("mmlu/dev",)),
        obtain="https://github.com/hendrycks/test, or `cais/mmlu` on the Hugging Face hub",
        metric="accuracy over questions, of the likeliest of ` A`, ` B`, ` C`, ` D`",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot; OpenCompass mmlu_ppl and mmlu_gen",
                shots=5,
                base="likeliest letter",
                chat="shots as turns, the first letter of the answer that stands alone",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `mmlu` with 5 shots",
                shots=5,
                base="likeliest letter",
            ),
        },
        hub={
            "mmlu/test": ("cais/mmlu", "all/test-00000-of-00001.parquet"),
            "mmlu/dev": ("cais/mmlu", "all/dev-00000-of-00001.parquet"),
        },
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file, with the first rows of their subject's dev set."""
        data, hint = self.setup.data, self.about.obtain
        solved = by_group(data.rows("mmlu/dev", hint=hint), lambda row: row["subject"])
        return [
            Sample(
                id=str(number),
                row=row,
                group=row["subject"],
                shots=first(solved.get(row["subject"], ()), self.num_shots, row["subject"]),
            )
            for number, row in enumerate(data.rows("mmlu/test", hint=hint))
        ]

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """A row of the hub's file, or of one whose choices have columns of their own."""
        choices = row.get("choices") or [row[f"choice{place}"] for place in range(4)]
        return lettered(row["question"], choices, int(row["answer"]))

    def head(self, sample: Sample) -> str:
        """What the questions are about."""
        subject = sample.group.replace("_", " ")
        return f"The following are multiple choice questions (with answers) about {subject}.\n\n"

    def wish(self, sample: Sample) -> str:
        """What a chat model is told before each question."""
        subject = sample.group.replace("_", " ")
        return f"There is a single choice question about {subject}. Reply with A, B, C or D.\n"

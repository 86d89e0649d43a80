"""WinoGrande: whom a pronoun means (Sakaguchi et al., 2019, https://arxiv.org/abs/1907.10641)."""

from collections.abc import Mapping
from typing import Any

from tongwen.evals.likeliest import Choice, Choices, Likeliest
from tongwen.evals.pools import train_or_apart
from tongwen.evals.sample import Sample
from tongwen.evals.task import About, Preset


class WinoGrande(Likeliest):
    """After which of two names the rest of the sentence is likelier ("partial evaluation")."""

    about = About(
        title="WinoGrande",
        paper="https://arxiv.org/abs/1907.10641",
        licence="CC BY",
        files=(("winogrande/dev",),),
        obtain="`allenai/winogrande` (winogrande_xl) on the Hugging Face hub; with "
        "`winogrande/train` solved rows are drawn from it, else 100 are set apart",
        metric="accuracy of the name after which the rest is likelier",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot; the first rows of those set apart",
                shots=5,
                base="likelier rest",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `winogrande` with 5 shots",
                shots=5,
                base="likelier rest; rows drawn anew before each sentence",
            ),
        },
        hub={
            "winogrande/dev": (
                "allenai/winogrande",
                "winogrande_xl/validation-00000-of-00001.parquet",
            ),
            "winogrande/train": (
                "allenai/winogrande",
                "winogrande_xl/train-00000-of-00001.parquet",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Sentences in the order of the file, without those set apart."""
        found = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        pool, rows = train_or_apart(self.setup.data, "winogrande/train", found)
        return self.in_order(rows, pool, spares=True)

    def choices(self, row: Mapping[str, Any]) -> Choices:
        """A row of the hub's file, or of one whose contexts are filled in already."""
        if "sentence" in row:
            return filled(row)
        return Choices(
            all=tuple(
                Choice(context=context, text=row["continuation"])
                for context in row["context_options"]
            ),
            gold=int(row["gold"]),
        )


def filled(row: Mapping[str, Any]) -> Choices:
    """A sentence with a gap `_`, `option1`, `option2` and the right one's number as `answer`."""
    before, _, after = row["sentence"].partition("_")
    names = row["option1"], row["option2"]
    return Choices(
        all=tuple(Choice(context=before + name, text=after.strip()) for name in names),
        gold=int(row["answer"]) - 1,
    )

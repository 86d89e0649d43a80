"""HellaSwag: how a scene goes on (Zellers et al., 2019, https://arxiv.org/abs/1905.07830)."""

import re
from collections.abc import Mapping
from typing import Any

from tongwen.evals.likeliest import Choice, Choices, Likeliest
from tongwen.evals.pools import train_or_apart
from tongwen.evals.sample import Sample
from tongwen.evals.task import About, Preset


class HellaSwag(Likeliest):
    """Which ending is the likeliest, per character."""

    metric = "acc_norm"

    about = About(
        title="HellaSwag",
        paper="https://arxiv.org/abs/1905.07830",
        licence="MIT",
        files=(("hellaswag/val", "hellaswag/val_sample1000"),),
        obtain="`Rowan/hellaswag` on the Hugging Face hub, or rowanz/hellaswag on GitHub; with "
        "`hellaswag/train` solved rows are drawn from it, else 100 are set apart",
        metric="accuracy of the ending that is likeliest per character (acc_norm)",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 10-shot; the first rows of those set apart",
                shots=10,
                base="likeliest ending",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `hellaswag` with 10 shots",
                shots=10,
                base="likeliest ending; rows drawn anew before each scene",
            ),
        },
        hub={
            "hellaswag/val": ("Rowan/hellaswag", "data/validation-00000-of-00001.parquet"),
            "hellaswag/train": ("Rowan/hellaswag", "data/train-00000-of-00001.parquet"),
        },
    )

    def samples(self) -> list[Sample]:
        """Scenes in the order of the file, without those set apart."""
        found = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        pool, rows = train_or_apart(self.setup.data, "hellaswag/train", found)
        return self.in_order(rows, pool, spares=True)

    def choices(self, row: Mapping[str, Any]) -> Choices:
        """What is done, and how it goes on, without the brackets of WikiHow."""
        scene = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
        return Choices(
            all=tuple(
                Choice(context=_plain(scene), text=_plain(ending)) for ending in row["endings"]
            ),
            gold=int(row["label"]),
        )


def _plain(text: str) -> str:
    """Text as lm-evaluation-harness cleans it (`hellaswag/utils.py`)."""
    titled = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", titled).replace("  ", " ")

"""ARC-Challenge: science of the school (Clark et al., 2018, https://arxiv.org/abs/1803.05457)."""

from collections.abc import Mapping
from typing import Any

from tongwen.evals.likeliest import Choice, Choices, Likeliest
from tongwen.evals.sample import Sample
from tongwen.evals.task import About, Preset


class ArcChallenge(Likeliest):
    """Which answer is the likeliest, per character, after the question."""

    metric = "acc_norm"

    about = About(
        title="ARC-C",
        paper="https://arxiv.org/abs/1803.05457",
        licence="CC BY-SA 4.0",
        files=(("arc_challenge/test",), ("arc_challenge/train",)),
        obtain="`allenai/ai2_arc` (ARC-Challenge) on the Hugging Face hub",
        metric="accuracy of the answer that is likeliest per character (acc_norm)",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 25-shot; the first rows of the training part",
                shots=25,
                base="likeliest answer",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `arc_challenge` with 25 shots",
                shots=25,
                base="likeliest answer; rows drawn anew before each question",
            ),
        },
        hub={
            "arc_challenge/test": (
                "allenai/ai2_arc",
                "ARC-Challenge/test-00000-of-00001.parquet",
            ),
            "arc_challenge/train": (
                "allenai/ai2_arc",
                "ARC-Challenge/train-00000-of-00001.parquet",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Questions in the order of the file."""
        data, hint = self.setup.data, self.about.obtain
        rows = data.rows("arc_challenge/test", hint=hint)
        solved = data.rows("arc_challenge/train", hint=hint) if self.num_shots else []
        return self.in_order(rows, solved, spares=False)

    def choices(self, row: Mapping[str, Any]) -> Choices:
        """A row of the hub's file, or of one that names the place of the right answer."""
        found, labels = row["choices"], None
        if isinstance(found, Mapping):
            found, labels = found["text"], list(found["label"])
        context = f"Question: {row['question']}\nAnswer:"
        return Choices(
            all=tuple(Choice(context=context, text=text) for text in found),
            gold=int(row["gold"]) if labels is None else labels.index(row["answerKey"]),
        )

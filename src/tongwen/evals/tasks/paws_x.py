"""PAWS-X: paraphrase or not, 7 languages (Yang et al., 2019, https://arxiv.org/abs/1908.11828)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tongwen.errors import RequestError
from tongwen.evals.languages import InLanguages, samples_of
from tongwen.evals.likeliest import Choice, Choices, Likeliest
from tongwen.evals.pools import Pairs, train_or_apart
from tongwen.evals.sample import Sample
from tongwen.evals.shots import Row
from tongwen.evals.task import About, Preset, Setup

_WORDS = {
    "de": ("richtig", "Nein", "Ja"),
    "en": ("right", "No", "Yes"),
    "es": ("verdad", "No", "Sí"),
    "fr": ("n'est-ce pas", "Non", "Oui"),
    "ja": ("ですね", "いいえ", "はい"),
    "ko": ("맞죠", "아니요", "예"),
    "zh": ("对吧", "不是", "是"),
}
"""What asks, denies and affirms (lm-evaluation-harness, `paws-x/*.yaml`)."""


class PawsX(InLanguages, Likeliest):
    """Whether `..., right? Yes, ...` or `..., right? No, ...` joins both sentences likelier."""

    joint = ""

    tongues: ClassVar[Mapping[str, tuple[str, ...]]] = {
        language: (f"paws_x/{language}_test",) for language in _WORDS
    }

    about = About(
        title="PAWS-X",
        paper="https://arxiv.org/abs/1908.11828",
        licence="free for any purpose, with acknowledgement of Google LLC",
        files=tuple(tongues.values()),
        obtain="`google-research-datasets/paws-x` on the Hugging Face hub; with "
        "paws_x/LANGUAGE_train solved rows are drawn from it, else 100 are set apart",
        metric="accuracy of the likelier joint sentence, mean over languages",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot; in the form of the harness",
                shots=5,
                base="likelier sentence",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `paws_*` with 5 shots",
                shots=5,
                base="likelier sentence; rows drawn anew before each",
            ),
        },
        hub={
            f"paws_x/{language}_test": (
                "google-research-datasets/paws-x",
                f"{language}/test-00000-of-00001.parquet",
            )
            for language in _WORDS
        },
    )

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if not self.num_shots:
            raise RequestError(
                "PAWS-X weighs whole sentences, and without a solved row nothing stands before "
                "them",
                hint="--shots 1 or more",
            )

    def samples(self) -> list[Sample]:
        """Pairs by language; those that lack a sentence are left out."""
        return samples_of({one: self._pairs(one, rows) for one, rows in self.rows().items()})

    def choices(self, row: Mapping[str, Any]) -> Choices:
        """Both sentences as one, denied and affirmed."""
        asks, *words = _WORDS[row["language"]]
        first, second = _plain(row["sentence1"]), _plain(row["sentence2"])
        if first.endswith((".", ",", ";")):
            first = first[:-1]
        second = second[0].lower() + second[1:]
        return Choices(
            all=tuple(
                Choice(context="", text=f"{first}, {asks}? {word}, {second}") for word in words
            ),
            gold=int(row["label"]),
        )

    def _pairs(self, language: str, rows: Sequence[Row]) -> Pairs:
        solved, asked = train_or_apart(self.setup.data, f"paws_x/{language}_train", rows)
        return self.with_shots(_whole(asked, language), _whole(solved, language), language)


def _whole(rows: Sequence[Row], language: str) -> list[Row]:
    return [{**row, "language": language} for row in rows if row["sentence1"] and row["sentence2"]]


def _plain(text: str) -> str:
    """Text without the blanks that a tokenizer left around marks, as the harness joins it."""
    for apart, together in ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"')):
        text = text.replace(apart, together)
    return re.sub(r" (['.,])", r"\1", text).strip()

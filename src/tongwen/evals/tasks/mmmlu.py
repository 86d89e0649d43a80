"""mMMLU: MMLU in other languages (Lai et al., 2023, Okapi, https://arxiv.org/abs/2307.16039)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tongwen.evals.languages import InLanguages, samples_of
from tongwen.evals.lettered import Lettered, Problem, lettered
from tongwen.evals.pools import Pairs, apart, by_group, same_shots
from tongwen.evals.sample import Sample
from tongwen.evals.shots import Row
from tongwen.evals.task import About, Preset

_OKAPI = (
    *("ar", "bn", "ca", "da", "de", "es", "eu", "fr", "gu", "hi", "hr", "hu", "hy", "id", "is"),
    *("it", "kn", "ml", "mr", "nb", "ne", "nl", "pt", "ro", "ru", "sk", "sr", "sv", "ta", "te"),
    *("uk", "vi", "zh"),
)


class Mmmlu(InLanguages, Lettered):
    """Which letter is the likeliest; of Japanese, which Okapi has not, JMMLU stands in."""

    tongues: ClassVar[Mapping[str, tuple[str, ...]]] = {
        language: (f"mmmlu/{language}_test",) for language in _OKAPI
    } | {"ja": ("mmmlu/ja_test", "mmmlu/jmmlu_ja", "mmmlu/jmmlu_ja_sample40")}

    about = About(
        title="mMMLU",
        paper="https://arxiv.org/abs/2307.16039",
        licence="CC BY-NC 4.0 (Okapi); CC BY-SA 4.0 (JMMLU)",
        files=tuple(tongues.values()),
        obtain="`alexandrainst/m_mmlu` on the Hugging Face hub: its splits as "
        "mmmlu/LANGUAGE_test and mmmlu/LANGUAGE_train; Japanese: nlp-waseda/JMMLU",
        metric="accuracy of the likeliest letter, mean over languages",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot",
                shots=5,
                base="likeliest letter",
                chat="shots as turns, the first letter of the answer that stands alone",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `m_mmlu_*` with 5 shots",
                shots=5,
                base="likeliest letter",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Questions by language, with the first rows of its training part."""
        return samples_of(
            {tongue: self._pairs(tongue, rows) for tongue, rows in self.rows().items()}
        )

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """A row of the hub's file, or of JMMLU."""
        if "instruction" in row:
            choices = [row[f"option_{letter}"] for letter in "abcd"]
            return lettered(row["instruction"], choices, row["answer"])
        return lettered(row["question"], [row[letter] for letter in "ABCD"], row["answer"])

    def _pairs(self, tongue: str, rows: Sequence[Row]) -> Pairs:
        """Of the training part; where it is absent the first rows of each subject."""
        train, title = f"mmmlu/{tongue}_train", f"mMMLU in {tongue}"
        if self.setup.data.find([train]) is not None:
            return same_shots(rows, self.setup.data.rows(train), self.num_shots, title)
        pairs: Pairs = []
        for subject, group in by_group(rows, lambda row: row.get("subject", "")).items():
            pool, asked = apart(group, 5)
            pairs += same_shots(asked, pool, self.num_shots, f"{title}, {subject}")
        return pairs

"""XCOPA: cause and effect, 11 languages (Ponti et al., 2020, https://arxiv.org/abs/2005.00333)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tongwen.evals.languages import InLanguages, samples_of
from tongwen.evals.likeliest import Choice, Choices, Likeliest
from tongwen.evals.pools import by_group
from tongwen.evals.sample import Sample
from tongwen.evals.shots import Row
from tongwen.evals.task import About, Preset

_WORDS = {
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}
"""`because` and `therefore` (lm-evaluation-harness, `xcopa/utils.py`)."""


class XCopa(InLanguages, Likeliest):
    """Which of two sentences is likelier after `because` or `therefore`."""

    tongues: ClassVar[Mapping[str, tuple[str, ...]]] = {
        language: (f"xcopa/{language}_test", "xcopa/test") for language in _WORDS
    }

    about = About(
        title="XCOPA",
        paper="https://arxiv.org/abs/2005.00333",
        licence="CC BY 4.0",
        files=(("xcopa/test",), ("xcopa/val",)),
        obtain="https://github.com/cambridgeltl/xcopa: all languages in one file with the field "
        "`lang`, or a file for each, xcopa/LANGUAGE_test and xcopa/LANGUAGE_val",
        metric="accuracy of the likelier sentence, mean over languages",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot; the first validation rows",
                shots=5,
                base="likelier sentence",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `xcopa_*` with 5 shots",
                shots=5,
                base="likelier sentence; rows drawn anew before each",
            ),
        },
        hub={
            f"xcopa/{language}_{part}": (
                "cambridgeltl/xcopa",
                f"{language}/{'validation' if part == 'val' else part}-00000-of-00001.parquet",
            )
            for language in _WORDS
            for part in ("test", "val")
        },
    )

    def samples(self) -> list[Sample]:
        """Premises by language."""
        solved = self._rows("val")
        return samples_of(
            {
                language: self.with_shots(rows, solved.get(language, ()), language)
                for language, rows in self._rows("test").items()
            }
        )

    def choices(self, row: Mapping[str, Any]) -> Choices:
        """Both sentences, begun in lower case, after the premise without its full stop."""
        word = _WORDS[row["lang"]][row["question"] == "effect"]
        context = f"{row['premise'].strip()[:-1]} {word}"
        both = row["choice1"], row["choice2"]
        return Choices(
            all=tuple(Choice(context=context, text=text[0].lower() + text[1:]) for text in both),
            gold=int(row["label"]),
        )

    def _rows(self, part: str) -> dict[str, list[Row]]:
        data, hint = self.setup.data, self.about.obtain
        if data.find([f"xcopa/{part}"]) is not None:
            return by_group(data.rows(f"xcopa/{part}"), lambda row: row["lang"])
        there = [one for one in _WORDS if data.find([f"xcopa/{one}_{part}"]) is not None]
        if not there:
            data.rows(f"xcopa/{part}", hint=hint)
        return {
            one: [{**row, "lang": one} for row in data.rows(f"xcopa/{one}_{part}")] for one in there
        }

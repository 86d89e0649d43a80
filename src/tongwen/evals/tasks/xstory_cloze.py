"""XStoryCloze: how a story ends (Lin et al., 2021, https://arxiv.org/abs/2112.10668)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tongwen.evals.languages import InLanguages, samples_of
from tongwen.evals.likeliest import Choice, Choices, Likeliest
from tongwen.evals.sample import Sample
from tongwen.evals.task import About, Preset

_LANGUAGES = ("en", "ru", "zh", "es", "ar", "hi", "id", "te", "sw", "eu", "my")


class XStoryCloze(InLanguages, Likeliest):
    """Which of two endings of a story of four sentences is likelier."""

    spares = True

    tongues: ClassVar[Mapping[str, tuple[str, ...]]] = {
        language: (f"xstory_cloze/{language}_eval",) for language in _LANGUAGES
    }

    about = About(
        title="XStoryCloze",
        paper="https://arxiv.org/abs/2112.10668",
        licence="CC BY-SA 4.0",
        files=tuple(tongues.values()),
        obtain="`juletxara/xstory_cloze` on the Hugging Face hub: its splits as "
        "xstory_cloze/LANGUAGE_eval and, for solved rows, xstory_cloze/LANGUAGE_train",
        metric="accuracy of the likelier ending, mean over languages",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 0-shot; as lm-evaluation-harness",
                base="likelier ending",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `xstorycloze_*` with 0 shots",
                base="likelier ending",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Stories by language."""
        pairs = {}
        for language, rows in self.rows().items():
            train = f"xstory_cloze/{language}_train"
            solved = self.setup.data.rows(train) if self.num_shots else []
            pairs[language] = self.with_shots(rows, solved, language)
        return samples_of(pairs)

    def choices(self, row: Mapping[str, Any]) -> Choices:
        """Both endings after the story."""
        story = " ".join(row[f"input_sentence_{number}"] for number in range(1, 5))
        endings = row["sentence_quiz1"], row["sentence_quiz2"]
        return Choices(
            all=tuple(Choice(context=story, text=ending) for ending in endings),
            gold=int(row["answer_right_ending"]) - 1,
        )

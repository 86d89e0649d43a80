"""M3Exam: exams of nine countries (Zhang et al., 2023, https://arxiv.org/abs/2306.05179)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tongwen.evals.languages import InLanguages, samples_of
from tongwen.evals.lettered import Lettered, Problem
from tongwen.evals.pools import Pairs, by_group, same_shots
from tongwen.evals.sample import Sample
from tongwen.evals.shots import Row
from tongwen.evals.task import About, Preset

_CUES = {
    "english": "Answer:",
    "chinese": "答案：",
    "vietnamese": "Câu trả lời:",
    "thai": "คำตอบ:",
    "italian": "La risposta:",
    "javanese": "Wangsulan:",
    "swahili": "Jibu:",
    "afrikaans": "Antwoord:",
    "portuguese": "Responder:",
}
"""What calls for the answer (DAMO-NLP-SG/M3Exam, `main.py`)."""


class M3Exam(InLanguages, Lettered):
    """Which label is the likeliest after the question; questions with pictures are left out."""

    joint = ""

    tongues: ClassVar[Mapping[str, tuple[str, ...]]] = {
        tongue: (f"m3exam/{tongue}-questions-test",) for tongue in _CUES
    }

    about = About(
        title="M3Exam",
        paper="https://arxiv.org/abs/2306.05179",
        licence="for research, as its authors say",
        files=tuple(tongues.values()),
        obtain="https://github.com/DAMO-NLP-SG/M3Exam: the archive, of which data/text-question/"
        "LANGUAGE-questions-test.json and -dev.json are put below m3exam/",
        metric="accuracy of the likeliest label, mean over languages",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot; the form of DAMO-NLP-SG/M3Exam",
                shots=5,
                base="likeliest label",
                chat="shots as turns, the first label of the answer that stands alone",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Questions by language, with dev rows of their level and subject before others."""
        return samples_of(
            {tongue: self._pairs(tongue, rows) for tongue, rows in self.rows().items()}
        )

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Background, question, and the choices with the labels that the exam gave them."""
        labels = "".join(_label(option, place) for place, option in enumerate(row["options"]))
        lines = [*row["background_description"], row["question_text"], *row["options"]]
        return Problem(text="\n".join(lines), answer=str(row["answer_text"]), letters=labels)

    def cue(self, sample: Sample) -> str:
        """What calls for the answer, in the language of the exam."""
        return _CUES[sample.group]

    def _pairs(self, tongue: str, rows: Sequence[Row]) -> Pairs:
        asked = [row for row in rows if row.get("need_image", "no") == "no"]
        dev = self.setup.data.rows(f"m3exam/{tongue}-questions-dev", hint=self.about.obtain)
        if not self.num_shots:
            return [(row, ()) for row in asked]
        pairs: Pairs = []
        for kind, group in by_group(asked, _kind).items():
            pool = sorted(dev, key=lambda row: _kind(row) != kind)
            pairs += same_shots(group, pool, self.num_shots, f"M3Exam in {tongue}")
        return pairs


def _kind(row: Row) -> str:
    return f"{row.get('level')}/{row.get('subject_category')}"


def _label(option: str, place: int) -> str:
    """`B` of `B. words`, `2` of `(2) words`; else the letter of its place."""
    found = re.match(r"\s*\(?([A-Z]|[1-9])\s*[.)．、]", option)
    return found[1] if found else "ABCDEFGHIJ"[place]

"""Belebele: reading, in 122 languages (Bandarkar et al., 2023, https://arxiv.org/abs/2308.16884)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tongwen.evals.languages import InLanguages, samples_of
from tongwen.evals.lettered import Lettered, Problem
from tongwen.evals.pools import Pairs, harness_first
from tongwen.evals.sample import Sample
from tongwen.evals.shots import Row
from tongwen.evals.task import About, Preset

# Of the languages that Qwen2's announcement names, those that Belebele has.
_CODES = (
    *("eng_Latn", "zho_Hans", "deu_Latn", "fra_Latn", "spa_Latn", "por_Latn", "ita_Latn"),
    *("nld_Latn", "rus_Cyrl", "ces_Latn", "pol_Latn", "arb_Arab", "pes_Arab", "heb_Hebr"),
    *("tur_Latn", "jpn_Jpan", "kor_Hang", "vie_Latn", "tha_Thai", "ind_Latn", "zsm_Latn"),
    *("lao_Laoo", "mya_Mymr", "ceb_Latn", "khm_Khmr", "tgl_Latn", "hin_Deva", "ben_Beng"),
    "urd_Arab",
)


class Belebele(InLanguages, Lettered):
    """Which letter is the likeliest after a passage and a question about it."""

    tongues: ClassVar[Mapping[str, tuple[str, ...]]] = {
        code: (f"belebele/{code}",) for code in _CODES
    }

    about = About(
        title="BELEBELE",
        paper="https://arxiv.org/abs/2308.16884",
        licence="CC BY-SA 4.0",
        files=tuple(tongues.values()),
        obtain="`facebook/belebele` on the Hugging Face hub: a file for each language",
        metric="accuracy of the likeliest letter, mean over languages",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 5-shot; the first rows, which are not asked",
                shots=5,
                base="likeliest letter",
                chat="shots as turns, the first letter of the answer that stands alone",
            ),
            "harness": Preset(
                source="lm-evaluation-harness 0.4.13, `belebele_*` with 5 shots",
                shots=5,
                base="likeliest letter",
            ),
        },
        hub={f"belebele/{code}": ("facebook/belebele", f"data/{code}.jsonl") for code in _CODES},
    )

    def samples(self) -> list[Sample]:
        """Questions by language."""
        return samples_of({code: self._pairs(code, rows) for code, rows in self.rows().items()})

    def problem(self, row: Mapping[str, Any]) -> Problem:
        """Passage, question and four answers."""
        answers = [f"{letter}: {row[f'mc_answer{n}']}" for n, letter in enumerate("ABCD", 1)]
        lines = [f"P: {row['flores_passage']}", f"Q: {row['question'].strip()}", *answers]
        return Problem(text="\n".join(lines), answer="ABCD"[int(row["correct_answer_num"]) - 1])

    def _pairs(self, code: str, rows: Sequence[Row]) -> Pairs:
        if self.setup.preset == "harness":
            return harness_first(rows, self.num_shots)
        return self.own_shots(rows, code)

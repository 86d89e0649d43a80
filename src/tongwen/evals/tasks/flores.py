"""FLORES-101: sentences of Wikimedia in many languages (Goyal et al., 2021, arXiv 2106.03193)."""

from collections.abc import Sequence
from math import sqrt
from statistics import fmean

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure, by_group
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.shots import Row, set_apart, turns
from tongwen.evals.task import About, Preset, Task
from tongwen.evals.translation import (
    Metric,
    bleu,
    chrf,
    of_corpus,
    of_sentence,
    spbleu,
    stderr_of_corpus,
)

_COLUMN = "sentence_"
_ENGLISH = "eng_Latn"
_SHORT = {"en": _ENGLISH, "de": "deu_Latn", "zh": "zho_Hans"}
_NAMES = {
    "arb_Arab": "Arabic",
    "ben_Beng": "Bengali",
    "ceb_Latn": "Cebuano",
    "ces_Latn": "Czech",
    "deu_Latn": "German",
    "eng_Latn": "English",
    "fra_Latn": "French",
    "guj_Gujr": "Gujarati",
    "heb_Hebr": "Hebrew",
    "hin_Deva": "Hindi",
    "ind_Latn": "Indonesian",
    "ita_Latn": "Italian",
    "jpn_Jpan": "Japanese",
    "khm_Khmr": "Khmer",
    "kor_Hang": "Korean",
    "lao_Laoo": "Lao",
    "mar_Deva": "Marathi",
    "mya_Mymr": "Burmese",
    "nld_Latn": "Dutch",
    "pes_Arab": "Persian",
    "pol_Latn": "Polish",
    "por_Latn": "Portuguese",
    "rus_Cyrl": "Russian",
    "spa_Latn": "Spanish",
    "tam_Taml": "Tamil",
    "tel_Telu": "Telugu",
    "tgl_Latn": "Tagalog",
    "tha_Thai": "Thai",
    "tur_Latn": "Turkish",
    "urd_Arab": "Urdu",
    "vie_Latn": "Vietnamese",
    "zho_Hans": "Chinese",
    "zsm_Latn": "Malay",
}


class Flores(Task):
    """Translation out of English and into it, of every language that the files hold."""

    about = About(
        title="FLORES-101",
        paper="https://arxiv.org/abs/2106.03193",
        licence="CC BY-SA 4.0",
        files=(
            ("flores/devtest", "flores/devtest_en_6indic"),
            ("flores/test_rand50_en_de_zh",),
        ),
        obtain="the FLORES archive, devtest, as rows of `id` and one column for each language, "
        "such as `sentence_eng_Latn` (`facebook/flores`, configuration all, on the hub)",
        metric="BLEU of each direction's sentences together; mean over directions",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1, 5-shot; spBLEU of the FLORES-101 paper",
                shots=5,
                base="translated sentences before it",
                chat="translated sentences as turns",
            ),
            "chrf": Preset(
                source="the same, scored by chrF, which needs nothing fetched",
                shots=5,
                base="translated sentences before it",
                chat="translated sentences as turns",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Every sentence in every direction, less those that are shown.

        Raises:
            RequestError: The data is not there.
            DependencyError: The preset's metric cannot be had.
        """
        self._metric()  # now, not after hours of translating
        made: dict[str, Sample] = {}
        for rows in self._tables():
            shown, apart = set_apart(rows, self.num_shots, lambda _: "all")
            kept = [row for number, row in enumerate(rows) if number not in apart]
            for source, target in _directions(rows[0]):
                for row in kept:
                    name = f"{source}-{target}/{row['id']}"
                    sentence = {"source": row[source], "target": row[target]}
                    shots = tuple(
                        {"source": shot[source], "target": shot[target]} for shot in shown["all"]
                    )
                    group = f"{source}-{target}"
                    made[name] = Sample(id=name, row=sentence, group=group, shots=shots)
        return list(made.values())

    def question(self, sample: Sample) -> Question:
        """Translated sentences, then this one."""
        source, target = (_NAMES.get(code, code) for code in sample.group.split("-"))
        if self.asks_in_turns:
            wish = f"Translate from {source} into {target}. Answer with the translation alone.\n\n"
            solved = [(wish + shot["source"], shot["target"]) for shot in sample.shots]
            asked = turns(solved, wish + sample.row["source"])
            return Generate(prompt=asked, params=self.setup.sampling(512))
        told = "".join(
            f"{source}: {shot['source']}\n{target}: {shot['target']}\n\n" for shot in sample.shots
        )
        return Generate(
            prompt=f"{told}{source}: {sample.row['source']}\n{target}:",
            params=self.setup.sampling(512, ("\n",)),
        )

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """ChrF of the sentence; the figure comes from what was written."""
        written = " ".join(answer.text.split())
        return Grade(score=of_sentence(written, sample.row["target"]), parsed=written)

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """The corpus figure of each direction, and their mean."""
        metric = self._metric()
        sides = {name: _sides(each) for name, each in by_group(graded).items()}
        found = {name: of_corpus(metric, *each) for name, each in sides.items()}
        errors = [stderr_of_corpus(metric, *each) for each in sides.values()]
        words = [of_corpus(bleu(name.partition("-")[2]), *each) for name, each in sides.items()]
        out = [score for name, score in found.items() if name.startswith(_ENGLISH)]
        into = [score for name, score in found.items() if not name.startswith(_ENGLISH)]
        halves = {"from English": out, "into English": into}
        return Figure(
            score=fmean(found.values()),
            stderr=sqrt(sum(error * error for error in errors)) / len(errors),
            metrics={
                "chrf": fmean(of_corpus(chrf(), *each) for each in sides.values()),
                "bleu": fmean(words),
                **{name: fmean(scores) for name, scores in halves.items() if scores},
            },
            groups=found,
        )

    def _metric(self) -> Metric:
        return chrf() if self.setup.preset == "chrf" else spbleu()

    def _tables(self) -> list[list[Row]]:
        """The rows of each file that is there, with their languages by FLORES's codes."""
        data, hint = self.setup.data, self.about.obtain
        there = [names for names in self.about.files if data.find(names) is not None]
        found = [data.rows(*names, hint=hint) for names in there or self.about.files[:1]]
        return [[_coded(row) for row in rows] for rows in found]


def _coded(row: Row) -> Row:
    names = {name: name.removeprefix(_COLUMN) for name in row if name.startswith(_COLUMN)}
    return {"id": row["id"], **{_SHORT.get(code, code): row[name] for name, code in names.items()}}


def _directions(row: Row) -> list[tuple[str, str]]:
    others = [code for code in row if code not in ("id", _ENGLISH)]
    if _ENGLISH not in row or not others:
        raise RequestError(
            f"a file of FLORES has the columns `{', '.join(row)}`; English and another are needed",
            hint=f"columns such as `{_COLUMN}{_ENGLISH}`",
        )
    return [(_ENGLISH, code) for code in others] + [(code, _ENGLISH) for code in others]


def _sides(graded: Sequence[Graded]) -> tuple[list[str], list[str]]:
    """What was written and what should have been, completion by completion."""
    pairs = [
        (grade.parsed or "", each.sample.row["target"]) for each in graded for grade in each.grades
    ]
    return [written for written, _ in pairs], [reference for _, reference in pairs]

"""MGSM: GSM8K in eleven languages (Shi et al., 2022, https://arxiv.org/abs/2210.03057)."""

from collections.abc import Sequence

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure, macro
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.shots import Row, first, turns
from tongwen.evals.task import About, Preset, Task
from tongwen.judge import answers
from tongwen.judge.mathematics import last_boxed

_COLONS = ":："
_DECIMAL_COMMA = ("de", "es", "fr", "ru")
"""Languages that write 70.000 for what is 70,000 in English."""


class Mgsm(Task):
    """The last number of a solution that reasons in the language of the question."""

    about = About(
        title="MGSM",
        paper="https://arxiv.org/abs/2210.03057",
        licence="CC BY 4.0",
        files=(("mgsm/test",), ("mgsm/exemplars",)),
        obtain="https://github.com/google-research/url-nlp, mgsm/: test rows as `lang`, `question`,"
        " `answer_number`, exemplars.py as `lang`, `n`, `q`, `a`",
        metric="exact match of the last number, grouped as the language does; mean over languages. "
        "`commas dropped` is the paper's rule, to which 70.000 is 70",
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 8-shot chain of thought; exemplars in the "
                "language of the question, MGSM paper",
                shots=8,
                base="worked examples before it",
                chat="the same as turns",
            ),
        },
    )

    def samples(self) -> list[Sample]:
        """Problems in the order of the file, grouped by language."""
        pool: dict[str, list[Row]] = {}
        for row in self.setup.data.rows(*self.about.files[1], hint=self.about.obtain):
            pool.setdefault(row["lang"], []).append(row)
        shots = {
            lang: first(rows, max(self.num_shots, 1), f"{self.about.title} ({lang})")
            for lang, rows in pool.items()
        }
        return [
            Sample(
                id=f"{row['lang']}/{row['idx']}",
                row=row,
                group=row["lang"],
                shots=_known(shots, row["lang"]),
            )
            for row in self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        ]

    def question(self, sample: Sample) -> Question:
        """Solved problems of the language, then this one under the same headings."""
        told = sample.shots[: self.num_shots]
        asks, answer = _heading(sample.shots[0]["q"]), _heading(sample.shots[0]["a"])
        asked = asks + sample.row["question"]
        if self.asks_in_turns:
            solved = [(shot["q"], shot["a"]) for shot in told]
            return Generate(prompt=turns(solved, asked), params=self.setup.sampling(512))
        text = "".join(f"{shot['q']}\n{shot['a']}\n\n" for shot in told)
        return Generate(
            prompt=f"{text}{asked}\n{answer.rstrip()}",
            params=self.setup.sampling(512, (asks.rstrip(),)),
        )

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether the last number, that in the box where there is one, is the key's."""
        gold = answers.number(str(sample.row["answer_number"]))
        if gold is None:
            raise RequestError(f"row {sample.id} of MGSM has no number for an answer")
        text = last_boxed(answer.text) or answer.text
        found = answers.last_number(text, decimal_comma=sample.group in _DECIMAL_COMMA)
        plain = answers.last_number(text)
        return Grade(
            score=float(answers.same_number(found, gold)),
            parsed=None if found is None else f"{found.normalize():f}",
            metrics={"commas dropped": float(answers.same_number(plain, gold))},
        )

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """The mean over languages."""
        return macro(graded)


def _known(shots: dict[str, tuple[Row, ...]], lang: str) -> tuple[Row, ...]:
    if lang not in shots:
        raise RequestError(f"MGSM has no exemplars in the language `{lang}`")
    return shots[lang]


def _heading(text: str) -> str:
    """What stands before the text proper, with its colon and the blanks behind it."""
    place = min(text.index(colon) for colon in _COLONS if colon in text) + 1
    rest = text[place:]
    return text[:place] + rest[: len(rest) - len(rest.lstrip())]

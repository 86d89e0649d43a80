"""Languages: how long texts become, how well they are foreseen, in which language is answered."""

from collections.abc import Mapping, Sequence
from math import log
from statistics import fmean

from tongwen.errors import RequestError
from tongwen.evals.asked import NAMES, QUESTIONS
from tongwen.evals.figure import Figure, by_group, standard_error
from tongwen.evals.question import Answer, Generate, Question, Weigh
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.task import About, Preset, Setup, Task
from tongwen.judge.scripts import Languages as Tell

_MOST = 3
"""A text is read up to this part of it: the Declaration's first third is the same in all."""

_SHARE = 0.95


class Languages(Task):
    """One text in every language, weighed; and two questions in each, answered."""

    about = About(
        title="Languages of the cards",
        paper="https://arxiv.org/abs/2407.10671",
        licence="public (Universal Declaration of Human Rights); questions of our own",
        files=(("corpus/udhr_multilingual",),),
        obtain="https://github.com/nltk/nltk_data, packages/corpora/udhr2.zip, as rows of `lang` "
        "and `text`",
        metric="share of answers of whose letters 95 % are of the language asked; mean over "
        "languages",
        takes_shots=False,
        presets={
            "cards": Preset(
                source="the languages that the Qwen2 cards name; texts: the first third of the "
                "Universal Declaration of Human Rights",
                base="the question as it is",
                chat="the question as the user's message",
            )
        },
    )

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._tell = Tell()

    def samples(self) -> list[Sample]:
        """Of each language its text, where there is one, and its questions."""
        rows = self.setup.data.rows(*self.about.files[0], hint=self.about.obtain)
        texts = {row["lang"]: row["text"] for row in rows}
        found = []
        for language in NAMES:
            if text := texts.get(language, ""):
                part = {"text": text[: len(text) // _MOST]}
                found.append(Sample(id=f"text/{language}", row=part, group=language))
            found += [
                Sample(id=f"question/{language}/{number}", row={"question": asked}, group=language)
                for number, asked in enumerate(QUESTIONS[language])
            ]
        return found

    def question(self, sample: Sample) -> Question:
        """The text, to be weighed; or the question."""
        if "text" in sample.row:
            return Weigh(text=sample.row["text"])
        asked = sample.row["question"]
        prompt = [{"role": "user", "content": asked}] if self.asks_in_turns else f"{asked}\n"
        return Generate(prompt=prompt, params=self.setup.sampling(128))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Bits per byte and bytes per token; or whether an answer is one, and in the language."""
        if "text" in sample.row:
            return _weighed(sample.row["text"], answer)
        share = in_language(self._tell, answer.text, sample.group)
        echoes = is_echo(answer.text, sample.row["question"])
        told = self._tell.language_of(answer.text)
        return Grade(
            score=float(share >= _SHARE and not echoes),
            parsed=told,
            metrics={"share": share, "echo": float(echoes)},
        )

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """The share of answers by language; of texts the measures, and tokens beside English's.

        Raises:
            RequestError: No question is among the samples.
        """
        asked = [each for each in graded if "question" in each.sample.row]
        texts = {each.sample.group: each for each in graded if "text" in each.sample.row}
        if not asked:
            raise RequestError("no question of `languages` was answered")
        groups = {name: fmean(e.score for e in found) for name, found in by_group(asked).items()}
        return Figure(
            score=fmean(groups.values()),
            stderr=standard_error(list(groups.values())),
            metrics={
                "echo": fmean(grade.metrics["echo"] for each in asked for grade in each.grades),
                **_measures({name: each.grades[0] for name, each in texts.items()}),
            },
            groups=groups,
        )


def in_language(tell: Tell, text: str, language: str) -> float:
    """The share of letters that are of a language; of an empty answer none."""
    return tell.share_in(text, language) if text.strip() else 0.0


def is_echo(text: str, question: str) -> bool:
    """Whether an answer only repeats a part of the question, as happens in rare languages."""
    bare = "".join(letter for letter in text.casefold() if letter.isalnum())
    return bare in "".join(letter for letter in question.casefold() if letter.isalnum())


def _weighed(text: str, answer: Answer) -> Grade:
    weight, size = answer.likelihoods[0], len(text.encode())
    num_tokens = weight.num_tokens + 1  # of the first there is no probability
    bits = -weight.logprob / log(2) / size
    return Grade(
        score=bits,
        metrics={
            "bits_per_byte": bits,
            "bytes_per_token": size / num_tokens,
            "tokens": float(num_tokens),
        },
    )


def _measures(texts: Mapping[str, Grade]) -> dict[str, float]:
    found = {
        f"{name}/{language}": grade.metrics[name]
        for name in ("bytes_per_token", "bits_per_byte")
        for language, grade in texts.items()
    }
    if "en" in texts:
        english = texts["en"].metrics["tokens"]
        found |= {
            f"times_english/{language}": grade.metrics["tokens"] / english
            for language, grade in texts.items()
        }
    return found

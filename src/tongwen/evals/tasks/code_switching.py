"""Code switching: answers that begin in one language and go on in another."""

from collections.abc import Sequence
from dataclasses import replace

from tongwen.evals.asked import NAMES, QUESTIONS, TEMPLATES
from tongwen.evals.figure import Figure, macro
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.task import About, Preset, Setup, Task
from tongwen.evals.tasks.languages import in_language
from tongwen.judge.scripts import Languages as Tell

_SHARE = 0.95

SCRIPTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("en", "fr", "es", "pt", "de", "it", "nl", "cs", "pl", "tr", "vi", "id", "ms", "tl", "ceb"),
        ("Latin",),
    ),
    **dict.fromkeys(("ar", "fa", "ur"), ("Arabic",)),
    "zh": ("Han",),
    "ja": ("Kana", "Han"),
    "ko": ("Hangul",),
    "ru": ("Cyrillic",),
    "he": ("Hebrew",),
    "th": ("Thai",),
    "hi": ("Devanagari",),
}
"""What the guard lets pass; where a program is asked about, Latin letters too.

Of the cards' languages Lao, Burmese, Khmer and Bengali are not here: the guard has no name for
their scripts.
"""


class CodeSwitching(Task):
    """Whether at least 95 % of the letters outside code are of the language that was wanted."""

    about = About(
        title="Code switching",
        paper="https://arxiv.org/abs/2407.10671",
        licence="Apache-2.0 (questions of our own)",
        files=(),
        obtain="it needs no file",
        metric="share of answers with 95 % of the letters outside code in the language wanted; "
        "mean over languages",
        takes_shots=False,
        presets={
            "free": Preset(
                source="Qwen2 cards: code switching is named as a fault to be reduced; the "
                "measure is this package's",
                chat="one question, in the language or asking for it",
            ),
            "guarded": Preset(
                source="the same, ended where it leaves the scripts of the language "
                "(`language_guard`)",
                chat="one question, in the language or asking for it",
            ),
        },
    )

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._tell = Tell()

    def samples(self) -> list[Sample]:
        """Every template in every language."""
        found = []
        for language in SCRIPTS:
            own = dict(zip(("sleep", "rice"), QUESTIONS[language], strict=True))
            named = {
                name: template.format(language=NAMES[language])
                for name, template in TEMPLATES.items()
            }
            found += [
                Sample(id=f"{language}/{name}", row={"question": asked}, group=language)
                for name, asked in {**own, **named}.items()
            ]
        return found

    def question(self, sample: Sample) -> Question:
        """The question; under the guard with the scripts that the answer may have."""
        params = self.setup.sampling(256)
        if self.setup.preset == "guarded":
            code = ("Latin",) if sample.id.endswith("/code") else ()
            params = replace(params, language_guard=(*SCRIPTS[sample.group], *code))
        asked = [{"role": "user", "content": sample.row["question"]}]
        return Generate(prompt=asked, params=params)

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Whether it stays; a guarded answer is what was written before it was ended."""
        share = in_language(self._tell, answer.text, sample.group)
        return Grade(
            score=float(share >= _SHARE),
            parsed=self._tell.language_of(answer.text),
            metrics={"share": share, "ended": float(answer.finish_reason == "language")},
        )

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """The mean over languages."""
        return macro(graded)

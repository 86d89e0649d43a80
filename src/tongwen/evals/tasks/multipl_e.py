"""MultiPL-E: HumanEval in eight languages (Cassano et al., 2022, arXiv 2208.08227)."""

from collections.abc import Sequence

from tongwen.errors import DependencyError
from tongwen.evals.code import begun, code_of, fenced_turns, graded
from tongwen.evals.figure import Figure, macro
from tongwen.evals.question import Answer, Generate, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.evals.task import About, Preset, Task
from tongwen.judge import multipl_e
from tongwen.judge.languages import LANGUAGES

_NAMES = {
    "py": "python",
    "cpp": "cpp",
    "java": "java",
    "php": "php",
    "ts": "ts",
    "cs": "cs",
    "sh": "sh",
    "js": "js",
}
"""By our name of a language, that of its file; in the order of the Qwen2 cards."""

_FENCES = {"py": "python", "ts": "typescript", "cs": "csharp", "sh": "bash", "js": "javascript"}


class MultiPlE(Task):
    """Whether the function passes its tests, the mean over languages."""

    about = About(
        title="MultiPL-E",
        paper="https://arxiv.org/abs/2208.08227",
        licence="BSD-3-Clause, and not to be trained on",
        files=tuple((f"multipl_e/humaneval-{name}",) for name in _NAMES.values()),
        obtain="https://github.com/nuprl/MultiPL-E, or `nuprl/MultiPL-E` on the hub",
        metric="pass@1 in each language, the mean over languages; one without its programs here "
        "is not run",
        takes_shots=False,
        presets={
            "qwen2-report": Preset(
                source="Qwen2 Technical Report, 5.1: 0-shot",
                base="the prompt is continued",
                chat="the prompt in a fence, the answer begun with one and with the prompt",
            ),
        },
        needs=("sandbox",),
    )

    def samples(self) -> list[Sample]:
        """Functions, language by language; of those whose file and whose programs are here."""
        found = []
        for language, name in _NAMES.items():
            if self._why_not(language) is None:
                rows = self.setup.data.rows(f"multipl_e/humaneval-{name}", hint=self.about.obtain)
                found += [
                    Sample(
                        id=f"{language}/{row.get('name', row['task_id'])}", row=row, group=language
                    )
                    for row in rows
                ]
        if not found:
            # Without a single language there is no figure: the first reason is as good as any.
            raise DependencyError(f"MultiPL-E: {self._why_not('py')}")
        return found

    def not_run(self) -> tuple[str, ...]:
        """Why a language is left out, a line each."""
        reasons = {language: self._why_not(language) for language in _NAMES}
        return tuple(f"{one}: {why}" for one, why in reasons.items() if why is not None)

    def question(self, sample: Sample) -> Question:
        """The function's head and comment, to be gone on with."""
        prompt: str = sample.row["prompt"]
        stops = tuple(sample.row.get("stop_tokens", ()))[:16]
        if not self.asks_in_turns:
            return Generate(prompt=prompt, params=self.setup.sampling(768, stops))
        fence = _FENCES.get(sample.group, sample.group)
        wish = "Complete this function; go on behind its last line."
        turns = fenced_turns(f"{wish}\n```{fence}\n{prompt.rstrip()}\n```", fence)
        turns[-1]["content"] += prompt
        return begun(self.setup, turns, self.setup.sampling(768, (*stops, "\n```")))

    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """Compile it and run its tests."""
        verdict = await multipl_e.judge(
            *(sample.row, code_of(answer.text), sample.group, self.sandbox),
            may_be_whole=self.asks_in_turns and not self.setup.continues_answers,
        )
        return graded(verdict)

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """The mean over languages."""
        return macro(graded)

    def _why_not(self, language: str) -> str | None:
        if self.setup.data.find([f"multipl_e/humaneval-{_NAMES[language]}"]) is None:
            return "its file is not there"
        return LANGUAGES[language].missing

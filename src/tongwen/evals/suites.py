"""Suites: which benchmarks make up a card's table, in which order, run how."""

import difflib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure
from tongwen.evals.printed import Printed
from tongwen.evals.published import BASE, INSTRUCT

REPORT, HARNESS = "qwen2-report", "harness"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A benchmark as a suite runs it."""

    task: str
    """Its name in the catalogue."""

    preset: str = REPORT
    shots: int | None = None
    """`None`: as the preset says."""

    metrics: tuple[str, ...] = ()
    """What is averaged; none: `score` alone.  `macro` is the mean over groups."""

    chance: float = 0.0
    """What guessing scores: subtracted, and the rest stretched to 1."""

    questions_of: str = ""
    """Another part of the row, which asks the same questions: who errs there errs here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A line of a card: one benchmark, or the mean of several."""

    title: str
    parts: tuple[Part, ...]
    section: str = ""
    scale: float = 100.0
    """The score is a share of 1; the card prints per cent, or ratings up to 10."""

    digits: int = 1
    note: str = ""
    """Where what is measured differs from what was published."""

    def value(self, results: Mapping[str, Figure]) -> tuple[float, float | None] | None:
        """What the card prints, and its standard error; `None`: a part of it was not run."""
        if self.missing(results):
            return None
        found = {part: _of(part, results[part.task]) for part in self.parts}
        error = _error({part: error for part, (_, error) in found.items()})
        mean = fmean(value for value, _ in found.values())
        return mean * self.scale, None if error is None else error * self.scale

    def missing(self, results: Mapping[str, Figure]) -> list[str]:
        """The benchmarks that it lacks, or what their figures lack."""
        absent = [part.task for part in self.parts if part.task not in results]
        there = [part for part in self.parts if part.task in results]
        return absent + [
            f"{part.task} ({name})"
            for part in there
            for name in part.metrics
            if name not in _values(results[part.task])
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """The lines of a card, and the tables that it is held against."""

    name: str
    title: str
    rows: tuple[Row, ...]
    published: tuple[Printed, ...] = ()
    prefers_card: bool = False
    """Where report and card differ, print the card's figure, with the report's beside it."""

    has_average: bool = False
    """Whether a last line has the mean of all."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The benchmarks to run, each once, in their order."""
        return tuple({part.task: part for row in self.rows for part in row.parts}.values())


def suite_named(name: str) -> Suite:
    """A suite.

    Raises:
        RequestError: There is none of that name; the nearest are named.
    """
    if name in SUITES:
        return SUITES[name]
    near = difflib.get_close_matches(name, SUITES, n=2, cutoff=0.4)
    meant = f"did you mean {' or '.join(f'`{each}`' for each in near)}?" if near else None
    raise RequestError(f"no suite is called `{name}`", hint=meant or f"known: {', '.join(SUITES)}")


def _of(part: Part, figure: Figure) -> tuple[float, float | None]:
    """The score of a part, and its error, which is known of the score alone."""
    names = part.metrics or ("score",)
    values = _values(figure)
    value = fmean(values[name] for name in names)
    error = figure.stderr if names == ("score",) else None
    room = 1 - part.chance
    return (value - part.chance) / room, None if error is None else error / room


def _error(errors: Mapping[Part, float | None]) -> float | None:
    """Of the mean of parts; those that ask the same questions are taken to err alike.

    That is the most their common error can be; different questions err apart.
    """
    apart: dict[str, float] = defaultdict(float)
    for part, error in errors.items():
        if error is None:
            return None
        apart[part.questions_of or part.task] += error
    return sqrt(sum(error * error for error in apart.values())) / len(errors)


def _values(figure: Figure) -> dict[str, float]:
    """Everything that a figure says, by name; `macro` is the mean over its groups."""
    found = {**figure.metrics, "score": figure.score}
    return {"macro": fmean(figure.groups.values()), **found} if figure.groups else found


def _row(title: str, section: str, *tasks: str, **more: object) -> Row:
    parts = tuple(Part(task=task) for task in tasks)
    return Row(title=title, parts=parts, section=section, **more)  # type: ignore[arg-type]


_EVALPLUS = Row(
    title="EvalPlus",
    section="Coding",
    parts=(
        Part(task="humaneval"),
        Part(task="humaneval_plus", questions_of="humaneval"),
        Part(task="mbpp"),
        Part(task="mbpp_plus", questions_of="mbpp"),
    ),
)

CARD_BASE = Suite(
    name="card-base",
    title="Base models, as the Qwen2 cards print them",
    published=BASE,
    rows=(
        _row("MMLU", "English", "mmlu"),
        _row("MMLU-Pro", "English", "mmlu_pro"),
        _row("GPQA", "English", "gpqa"),
        _row("TheoremQA", "English", "theoremqa"),
        _row("BBH", "English", "bbh"),
        _row("HellaSwag", "English", "hellaswag"),
        _row("Winogrande", "English", "winogrande"),
        _row("ARC-C", "English", "arc_challenge"),
        _row("TruthfulQA", "English", "truthfulqa"),
        _row("HumanEval", "Coding", "humaneval"),
        _row("MBPP", "Coding", "mbpp"),
        _EVALPLUS,
        _row("MultiPL-E", "Coding", "multipl_e"),
        _row("GSM8K", "Mathematics", "gsm8k"),
        _row("MATH", "Mathematics", "math"),
        _row("C-Eval", "Chinese", "ceval"),
        _row("CMMLU", "Chinese", "cmmlu"),
        _row("Multi-Exam", "Multilingual", "m3exam", "indommlu", "rummlu", "mmmlu"),
        _row(
            "Multi-Understanding",
            "Multilingual",
            *("belebele", "xcopa", "xwinograd", "xstory_cloze", "paws_x"),
        ),
        _row("Multi-Math", "Multilingual", "mgsm"),
        _row("Multi-Translation", "Multilingual", "flores"),
    ),
)

CARD_INSTRUCT = Suite(
    name="card-instruct",
    title="Instruction-tuned models, as the Qwen2 cards print them",
    published=INSTRUCT,
    prefers_card=True,
    rows=(
        _row("MMLU", "English", "mmlu"),
        _row("MMLU-Pro", "English", "mmlu_pro"),
        _row("GPQA", "English", "gpqa"),
        _row("TheoremQA", "English", "theoremqa"),
        _row("MT-Bench", "English", "mt_bench", scale=10.0, digits=2),
        _row("Arena-Hard", "English", "arena_hard"),
        _row("MixEval", "English", "mixeval"),
        _row("IFEval", "English", "ifeval"),
        _row("HumanEval", "Coding", "humaneval"),
        _row("MBPP", "Coding", "mbpp"),
        _row("MultiPL-E", "Coding", "multipl_e"),
        _EVALPLUS,
        _row("LiveCodeBench", "Coding", "livecodebench"),
        _row("GSM8K", "Mathematics", "gsm8k"),
        _row("MATH", "Mathematics", "math"),
        _row("C-Eval", "Chinese", "ceval"),
        _row("AlignBench", "Chinese", "alignbench", scale=10.0, digits=2),
        _row(
            "M-MMLU",
            "Multilingual",
            "mmmlu",
            note="M-MMLU: published over ar, de, es, fr, it, nl, ru, uk, vi, zh",
        ),
        Row(title="MGSM", section="Multilingual", parts=(Part(task="mgsm", shots=0),)),
    ),
)

LEADERBOARD_V1 = Suite(
    name="open-llm-leaderboard-v1",
    title="Open LLM Leaderboard, version 1",
    has_average=True,
    rows=(
        Row(title="ARC-C", parts=(Part(task="arc_challenge", preset=HARNESS, shots=25),)),
        Row(title="HellaSwag", parts=(Part(task="hellaswag", preset=HARNESS, shots=10),)),
        Row(
            title="MMLU",
            parts=(Part(task="mmlu", preset=HARNESS, shots=5, metrics=("macro",)),),
            note="MMLU: the mean over subjects",
        ),
        Row(title="TruthfulQA", parts=(Part(task="truthfulqa", preset=HARNESS, shots=0),)),
        Row(title="Winogrande", parts=(Part(task="winogrande", preset=HARNESS, shots=5),)),
        Row(title="GSM8K", parts=(Part(task="gsm8k", preset=HARNESS, shots=5),)),
    ),
)

_STRICT = ("score", "instruction-strict")

LEADERBOARD_V2 = Suite(
    name="open-llm-leaderboard-v2",
    title="Open LLM Leaderboard, version 2: what is above chance, of what is left to 1",
    has_average=True,
    rows=(
        Row(
            title="IFEval",
            parts=(Part(task="ifeval", preset=HARNESS, metrics=_STRICT),),
            note="IFEval: the mean of strict accuracy of prompts and of instructions",
        ),
        Row(
            title="BBH",
            parts=(Part(task="bbh", preset=HARNESS, shots=3),),
            note="BBH: written answers; the leaderboard ranks the options of 24 of its tasks",
        ),
        Row(
            title="MATH level 5",
            parts=(Part(task="math", preset=HARNESS, shots=4, metrics=("level_5",)),),
        ),
        Row(title="GPQA", parts=(Part(task="gpqa", preset="zero-shot", shots=0, chance=0.25),)),
        Row(title="MuSR", parts=(Part(task="musr", preset=HARNESS, shots=0),)),
        Row(
            title="MMLU-Pro",
            parts=(Part(task="mmlu_pro", preset=HARNESS, shots=5, chance=0.1),),
            note="MMLU-Pro: written answers; the leaderboard ranks the letters",
        ),
    ),
)

SUITES: dict[str, Suite] = {
    suite.name: suite for suite in (CARD_BASE, CARD_INSTRUCT, LEADERBOARD_V1, LEADERBOARD_V2)
}

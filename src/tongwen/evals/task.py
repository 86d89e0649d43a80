"""What a benchmark is: samples, a question for each, a grade for each answer, one figure.

    file ──samples──▶ Sample ──question──▶ Question ──the model──▶ Answer ──grade──▶ Grade
                                                                                      │
                                                                 Figure ◀──figure─────┘

There are three questions that a model can be asked: to write (`Generate`), which of some
continuations it finds likely (`Rank`), and how likely a text is to it (`Weigh`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from tongwen.client.client import Client
from tongwen.engine.params import SamplingParams
from tongwen.errors import RequestError
from tongwen.evals.figure import Figure, mean
from tongwen.evals.question import Answer, Question
from tongwen.evals.sample import Grade, Graded, Sample
from tongwen.judge.benchmarks import Benchmarks
from tongwen.judge.sandbox import Sandbox


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """One published way to run a benchmark."""

    source: str
    """Who runs it so: a section, or a file of a harness."""

    shots: int = 0
    base: str = ""
    """How base models are asked, in a few words; empty: not at all."""

    chat: str = ""
    """How chat models are asked; empty: as base models are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What is known of a benchmark besides its samples."""

    title: str
    paper: str
    """Where it was published: a URL."""

    licence: str
    """Of its data."""

    files: tuple[tuple[str, ...], ...]
    """Names of each file that it reads, for `Benchmarks.rows`; the whole before its parts."""

    obtain: str
    """Where to get them."""

    metric: str
    """What the score is."""

    less_is_better: bool = False
    """Whether it is a perplexity or the like."""

    is_share: bool = True
    """Whether the score is a share of 1, which is written as a percentage."""

    takes_shots: bool = True
    """Whether solved rows can be shown before a question."""

    presets: Mapping[str, Preset]
    """By name; the first is the default."""

    needs: tuple[str, ...] = ()
    """`sandbox`, `judge`."""

    hub: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By name of a file: data set and path on the Hugging Face hub."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """With what a task works."""

    data: Benchmarks
    preset: str
    is_chat: bool
    """Whether the model takes turns; the other kind continues texts."""

    continues_answers: bool = True
    """Whether the model goes on with a conversation that ends with the assistant."""

    shots: int | None = None
    """Solved rows before each; `None`: as the preset says."""

    n: int = 1
    """Completions of each sample."""

    temperature: float = 0.0
    seed: int = 0
    sandbox: Sandbox | None = None
    judge: Client | None = None

    def sampling(self, max_tokens: int, stop: Sequence[str] = ()) -> SamplingParams:
        """How completions are written: raw argmax, unless the user asked otherwise."""
        return SamplingParams(
            temperature=self.temperature,
            top_p=1.0,
            top_k=0,
            repetition_penalty=1.0,
            seed=self.seed,
            n=self.n,
            max_tokens=max_tokens,
            stop=tuple(stop),
        )


class Task(ABC):
    """A benchmark, ready to be run; it keeps nothing between samples.

    Raises:
        RequestError: The setup asks for what it has not.
    """

    about: ClassVar[About]
    """What is known of it."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        if setup.preset not in self.about.presets:
            raise RequestError(
                f"`{self.about.title}` has no preset `{setup.preset}`",
                hint=f"it has {', '.join(self.about.presets)}",
            )
        self.preset = self.about.presets[setup.preset]
        if not (setup.is_chat or self.preset.base):
            raise RequestError(
                f"`{self.about.title}` with the preset `{setup.preset}` asks chat models alone",
                hint="name a chat model, or another preset",
            )
        self.num_shots = self._num_shots()

    @abstractmethod
    def samples(self) -> list[Sample]:
        """All of them, in the order of the file.

        Raises:
            RequestError: The data is not there, or damaged.
        """

    @abstractmethod
    def question(self, sample: Sample) -> Question:
        """What the model is asked."""

    @abstractmethod
    async def grade(self, sample: Sample, answer: Answer) -> Grade:
        """What one answer is worth.

        Raises:
            TongwenError: It cannot be told; the sample then counts as failed, not as wrong.
        """

    def figure(self, graded: Sequence[Graded]) -> Figure:
        """The figure of the card; unless overridden, the mean over samples."""
        return mean(graded)

    def not_run(self) -> tuple[str, ...]:
        """What of the benchmark is left out for want of data or programs, a line each."""
        return ()

    @property
    def fixed_shots(self) -> int | None:
        """How many solved rows are shown whatever one asks for; `None`: as many as that."""
        return None if self.about.takes_shots else 0

    @property
    def asks_in_turns(self) -> bool:
        """Whether the model is asked in a conversation: a chat model, and a preset for those."""
        return self.setup.is_chat and bool(self.preset.chat)

    @property
    def is_judged(self) -> bool:
        """Whether a model gives the verdicts."""
        return "judge" in self.about.needs

    @property
    def sandbox(self) -> Sandbox:
        """Where programs run.

        Raises:
            RequestError: There is none.
        """
        if self.setup.sandbox is None:
            raise RequestError(f"`{self.about.title}` runs programs and was given no sandbox")
        return self.setup.sandbox

    @property
    def judge(self) -> Client:
        """Who gives the verdicts.

        Raises:
            RequestError: Nobody was named.
        """
        if self.setup.judge is None:
            raise RequestError(
                f"`{self.about.title}` is judged by a model, and none was named",
                hint="--judge MODEL, or --judge-endpoint URL --judge NAME",
            )
        return self.setup.judge

    def _num_shots(self) -> int:
        """How many solved rows are shown, so that a receipt says nothing else."""
        fixed, asked = self.fixed_shots, self.setup.shots
        if fixed is None:
            return self.preset.shots if asked is None else asked
        if asked not in (None, fixed):
            raise RequestError(
                f"`{self.about.title}` with the preset `{self.setup.preset}` shows this model "
                f"{fixed} solved rows, not {asked}",
                hint="leave `--shots` out",
            )
        return fixed


Make = Callable[[Setup], Task]

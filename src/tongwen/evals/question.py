"""What a model can be asked, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tongwen.engine.params import SamplingParams

Conversation: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Generate:
    """Write a completion."""

    prompt: str | Conversation
    """A text to go on with, or a conversation; one that ends with the assistant is continued."""

    params: SamplingParams

    follow_ups: tuple[str, ...] = ()
    """What the user says after each answer, turn by turn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rank:
    """How likely each continuation is after its context."""

    pairs: tuple[tuple[str, str], ...]
    """Context and continuation of each option."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Weigh:
    """How likely a text is, token by token."""

    text: str

    window: int | None = None
    """Tokens that are looked at together, each window apart; `None`: the whole text."""


Question: TypeAlias = Generate | Rank | Weigh


@dataclass(frozen=True, kw_only=True, slots=True)
class Likelihood:
    """How likely one continuation was."""

    logprob: float
    """Natural-log probability, summed over its tokens."""

    num_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came of a question; of `Generate` with several completions, one of them."""

    turns: tuple[str, ...] = ()
    """Of `Generate`: what was written, turn by turn."""

    likelihoods: tuple[Likelihood, ...] = ()
    """Of `Rank`: of each pair.  Of `Weigh`: of the text, whose first token counts for nothing."""

    token_ids: tuple[int, ...] | None = None
    """Of `Generate`: the sampled ids of all turns; `None`: the endpoint does not tell."""

    finish_reason: str = "stop"
    """Of the last turn."""

    @property
    def text(self) -> str:
        """The last turn."""
        return self.turns[-1] if self.turns else ""

    @property
    def best(self) -> int:
        """Of `Rank`: the most likely pair, the first of equals."""
        return best([each.logprob for each in self.likelihoods])


def best(scores: Sequence[float]) -> int:
    """Place of the highest, the first of equals."""
    return max(range(len(scores)), key=lambda place: (scores[place], -place))

"""What whoever asks a model sees of it, wherever it runs."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tongwen.engine.params import SamplingParams

Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]]
"""A text, token ids, or a conversation as OpenAI's `messages`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One completion."""

    text: str
    """What was written."""

    finish_reason: str
    """`stop`, `length`, `tool_calls` ..."""

    token_ids: list[int] | None
    """The sampled ids; `None`: the endpoint does not tell."""

    logprobs: list[float] | None
    """Of each, where `SamplingParams.logprobs` asked for them."""

    prompt_tokens: int
    completion_tokens: int
    """Of all completions of the prompt together, as the endpoint counts."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a completion that is being written."""

    text: str
    """What is new."""

    reply: Reply | None = None
    """With the last piece, the whole."""


@runtime_checkable
class Client(Protocol):
    """Asks one model."""

    @property
    def model(self) -> str:
        """What it is called."""
        ...

    async def ask(self, prompt: Prompt, params: SamplingParams) -> list[Reply]:
        """All completions of a prompt, as many as `params.n`.

        Raises:
            TongwenError: It cannot be served, also after the retries.
        """
        ...

    def stream(self, prompt: Prompt, params: SamplingParams) -> AsyncGenerator[Part, None]:
        """One completion, piece by piece; closing the iterator ends it.

        Raises:
            TongwenError: It cannot be served, or breaks off.
        """
        ...

    async def score(self, prompts: Sequence[str | Sequence[int]]) -> list[list[float | None]]:
        """Natural-log probability of each token of each prompt; of the first `None`.

        Raises:
            TongwenError: One of them cannot be looked at.
        """
        ...

    async def close(self) -> None:
        """Let go of connections or threads."""
        ...


def is_conversation(prompt: Prompt) -> bool:
    """Whether a prompt is a list of messages."""
    return not isinstance(prompt, str) and bool(prompt) and isinstance(prompt[0], Mapping)

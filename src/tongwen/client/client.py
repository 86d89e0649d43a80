"""What whoever asks a model sees of it, wherever it runs."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from tongwen.engine.params import SamplingParams

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_AT_ONCE = 64
"""Prompts that one call has in the works together."""

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

    prompt_tokens: int | None
    """`None`: the endpoint does not count."""

    completion_tokens: int | None
    """Of all completions of the prompt together; `None`: the endpoint does not count."""


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

    async def score(
        self, prompts: Sequence[str | Sequence[int]], starts: Sequence[int] | None = None
    ) -> list[list[float | None]]:
        """Natural-log probability of each token of each prompt; of the first `None`.

        Args:
            prompts: Texts or token ids.
            starts: Of each prompt, from which place on they are wanted; `None`: all of them.  Those
                before may be `None`, and need not be computed again where others began alike.

        Raises:
            TongwenError: One of them cannot be looked at.
        """
        ...

    async def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, as the model meets them.

        Raises:
            TongwenError: They cannot be told.
        """
        ...

    async def close(self) -> None:
        """Let go of connections or threads."""
        ...


def is_conversation(prompt: Prompt) -> bool:
    """Whether a prompt is a list of messages."""
    return not isinstance(prompt, str) and len(prompt) > 0 and isinstance(prompt[0], Mapping)


async def together(
    work: Callable[[Item], Awaitable[Result]], items: Sequence[Item]
) -> list[Result]:
    """The results for all items, in order, `MOST_AT_ONCE` in the works.

    Where one fails, the others are cancelled.
    """
    places = asyncio.Semaphore(MOST_AT_ONCE)

    async def one(item: Item) -> Result:
        async with places:
            return await work(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

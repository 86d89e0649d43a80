"""A model in this process, asked like any other."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from tongwen.client.client import Part, Prompt, Reply, is_conversation, together
from tongwen.engine.async_engine import AsyncEngine
from tongwen.engine.completion import Completion, ranked
from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams
from tongwen.errors import RequestError

_LOOK = SamplingParams(max_tokens=0, prompt_logprobs=0)


class LocalClient:
    """Asks a model that is in memory here; it is stepped in a thread of its own.

    Args:
        llm: Nobody else asks it meanwhile.
    """

    def __init__(self, llm: LLM) -> None:
        self.llm = llm
        self._engine = AsyncEngine(llm.engine)

    @property
    def model(self) -> str:
        """What it is called."""
        return self.llm.name

    async def ask(self, prompt: Prompt, params: SamplingParams) -> list[Reply]:
        """All completions of a prompt.

        Raises:
            TongwenError: It cannot be served.
        """
        done = await self._engine.complete(self._ids(prompt), params)
        written = sum(len(one.token_ids) for one in done)
        chooses = params.best_of not in (None, params.n)
        kept = ranked(done)[: params.n] if chooses else done
        return [_reply(one, params, written) for one in kept]

    async def stream(self, prompt: Prompt, params: SamplingParams) -> AsyncGenerator[Part, None]:
        """One completion, piece by piece.

        Raises:
            TongwenError: It cannot be served, or breaks off.
        """
        if params.num_samples > 1:
            raise RequestError(f"`n` is {params.num_samples}, but one completion can be streamed")
        async with await self._engine.open(self._ids(prompt), params) as answers:
            while pieces := await answers.news():
                for piece in pieces:
                    done = piece.completion
                    if done is not None:
                        yield Part(piece.text, _reply(done, params, len(done.token_ids)))
                    elif piece.text:
                        yield Part(piece.text)

    async def score(
        self, prompts: Sequence[str | Sequence[int]], starts: Sequence[int] | None = None
    ) -> list[list[float | None]]:
        """Natural-log probability of each token of each prompt, `None` before its start.

        Raises:
            TongwenError: One of them cannot be looked at.
        """
        starts = starts or [0] * len(prompts)
        return await together(self._score, list(zip(prompts, starts, strict=True)))

    async def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt.

        Raises:
            TokenizerError: The conversation is malformed.
        """
        return self._ids(prompt)

    async def close(self) -> None:
        """End every request and the thread; `llm` can be asked by others again."""
        await asyncio.to_thread(self._engine.close)

    async def _score(self, wanted: tuple[str | Sequence[int], int]) -> list[float | None]:
        prompt, start = wanted
        params = replace(_LOOK, prompt_logprobs_from=start)
        done = await self._engine.complete(self._ids(prompt), params)
        _refuse_unfinished(done[0])
        return done[0].prompt_logprobs or []

    def _ids(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, str):
            return self.llm.tokenizer.encode(prompt, allow_control=True)
        if is_conversation(prompt):
            return self.llm.render(cast(Sequence[Mapping[str, Any]], prompt))
        return list(cast(Sequence[int], prompt))


def _reply(done: Completion, params: SamplingParams, written: int) -> Reply:
    _refuse_unfinished(done)
    return Reply(
        text=done.text,
        finish_reason=done.finish_reason,
        token_ids=done.token_ids,
        logprobs=None if params.logprobs is None else done.logprobs,
        prompt_tokens=len(done.prompt_token_ids),
        completion_tokens=written,
    )


def _refuse_unfinished(done: Completion) -> None:
    if done.finish_reason == "abort":
        raise RequestError(
            f"the client was closed after {len(done.token_ids)} tokens of a completion"
        )

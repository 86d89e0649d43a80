"""`POST /v1/completions`."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from tongwen.engine.completion import Completion, ranked
from tongwen.engine.params import SamplingParams
from tongwen.server.errors import api_error, invalid, unsupported
from tongwen.server.openai.errors import openai_error
from tongwen.server.openai.logprobs import prompt_logprobs, text_logprobs
from tongwen.server.openai.sampling import SamplingWire
from tongwen.server.openai.usage import finish_of, head_of, usage_of
from tongwen.server.served import Ask, Served
from tongwen.server.service import Done, Manner, Opened, Piece, Service, caller_of, service_of
from tongwen.server.sse import DONE, HeldStream, event, unless_gone
from tongwen.server.wire import JsonRoute
from tongwen.tokenizer.fim import fim_prompt, fim_stop_ids

router = APIRouter(route_class=JsonRoute, tags=["OpenAI"])

Prompt = str | list[int]
_DEFAULT_TOKENS = 16
_MOST_PROMPTS = 1024


class CompletionRequest(SamplingWire):
    """Texts to be continued."""

    prompt: str | list[str] | list[int] | list[list[int]]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None

    unserved: ClassVar[Mapping[str, str]] = {
        "use_beam_search": "ask for `best_of` completions",
        "truncate_prompt_tokens": "a prompt that is too long is refused",
        "tools": "`/v1/chat/completions` has them",
        "messages": "`/v1/chat/completions` has them",
    }

    def prompts(self) -> list[Prompt]:
        """Each prompt by itself.

        Raises:
            ApiError: There is none, or there are too many.
        """
        given: Any = self.prompt
        is_one = isinstance(given, str) or (given and isinstance(given[0], int))
        prompts: list[Prompt] = [given] if is_one else list(given)
        if not 1 <= len(prompts) <= _MOST_PROMPTS:
            raise invalid(
                "prompt", f"`prompt` holds {len(prompts)} prompts; 1 to {_MOST_PROMPTS} are taken"
            )
        return prompts

    def params(self) -> SamplingParams:
        """How to sample.

        Raises:
            RequestError: A value is out of range.
        """
        tokens = _DEFAULT_TOKENS if self.max_tokens is None else self.max_tokens
        prompt_logprobs = self.prompt_logprobs
        if self.echo and self.logprobs is not None:
            prompt_logprobs = max(self.logprobs, prompt_logprobs or 0)
        return self.sampling(
            max_tokens=tokens,
            echo=self.echo,
            logprobs=self.logprobs,
            best_of=self.best_of,
            prompt_logprobs=prompt_logprobs,
        )


@dataclass(frozen=True, slots=True)
class _One:
    """One prompt of a request."""

    body: CompletionRequest
    prompt: Prompt

    @property
    def model(self) -> str:
        """Which model."""
        return self.body.model

    @property
    def length(self) -> int:
        """About how many characters it has."""
        return len(self.prompt) + len(self.body.suffix or "")

    def ask(self, served: Served) -> Ask:
        """What is asked of the model.

        Raises:
            TongwenError: It cannot be served.
        """
        params, tokenizer = self.body.params(), served.llm.tokenizer
        if self.body.suffix is not None:
            return self._ask_middle(served, params, self.body.suffix)
        if isinstance(self.prompt, list):
            return Ask(prompt_ids=self.prompt, params=params)
        return Ask(prompt_ids=tokenizer.encode(self.prompt, allow_control=True), params=params)

    def _ask_middle(self, served: Served, params: SamplingParams, suffix: str) -> Ask:
        if not isinstance(self.prompt, str) or params.echo:
            raise invalid("suffix", "`suffix` goes with a `prompt` that is a text, without `echo`")
        tokenizer = served.llm.tokenizer
        stops = (*params.stop_token_ids, *fim_stop_ids(tokenizer))
        return Ask(
            prompt_ids=fim_prompt(tokenizer, self.prompt, suffix),
            params=replace(params, stop_token_ids=stops),
        )


@router.post("/v1/completions")
async def create_completion(request: Request, body: CompletionRequest) -> Response:
    """Continue texts."""
    service = service_of(request)
    manner = Manner(caller_of(request), body.priority or 0, body.cache_salt)
    if body.stream:
        return await _stream(request, service, manner, body)
    return JSONResponse(await unless_gone(request, complete_texts(service, manner, body)))


async def complete_texts(
    service: Service, manner: Manner, body: CompletionRequest
) -> dict[str, Any]:
    """The whole answer: for each prompt its `n` completions, in order.

    Raises:
        TongwenError: One of them cannot be given.
    """
    wishes = [_One(body, prompt) for prompt in body.prompts()]
    done = await service.complete_all(wishes, manner)
    kept = [(each, one) for each in done for one in _kept(each, body)]
    cached = sum(each.completions[0].num_cached_tokens for each in done)
    read = sum(len(each.ask.prompt_ids) for each in done)
    written = sum(len(one.token_ids) for each in done for one in each.completions)
    choices = [_choice(each.served, body, index, one) for index, (each, one) in enumerate(kept)]
    return {
        **head_of("text_completion", "cmpl", done[0].served.name),
        "choices": choices,
        "usage": usage_of(read, written, cached),
        "system_fingerprint": done[0].served.llm.numerics,
    }


def _kept(done: Done, body: CompletionRequest) -> list[Completion]:
    """The best `n` of `best_of`."""
    if body.best_of is None or body.best_of == (body.n or 1):
        return done.completions
    return ranked(done.completions)[: body.n or 1]


def _choice(
    served: Served, body: CompletionRequest, index: int, done: Completion
) -> dict[str, Any]:
    choice: dict[str, Any] = {
        "index": index,
        "text": done.text,
        "logprobs": _logprobs(served, body, done),
        **finish_of(done),
    }
    if body.prompt_logprobs is not None:
        choice["prompt_logprobs"] = prompt_logprobs(served.llm.tokenizer, done)
    if body.return_token_ids:
        choice["token_ids"] = done.token_ids
        choice["prompt_token_ids"] = done.prompt_token_ids
    return choice


def _logprobs(served: Served, body: CompletionRequest, done: Completion) -> dict[str, Any] | None:
    if body.logprobs is None:
        return None
    tokenizer = served.llm.tokenizer
    token_ids: list[int] = list(done.token_ids)
    logprobs: list[float | None] = list(done.logprobs)
    tops: list[Mapping[int, float] | None] = list(done.top_logprobs or [])
    if body.echo:
        token_ids = [*done.prompt_token_ids, *token_ids]
        logprobs = [*(done.prompt_logprobs or []), *logprobs]
        tops = [*(done.prompt_top_logprobs or []), *tops]
    return text_logprobs(tokenizer, token_ids, logprobs, tops if body.logprobs else None)


# ---- streamed


async def _stream(
    request: Request, service: Service, manner: Manner, body: CompletionRequest
) -> HeldStream:
    prompts = body.prompts()
    if body.echo and body.logprobs is not None:
        raise unsupported("stream", "the prompt's own log-probabilities come with the whole answer")
    if body.stream_options is not None and body.stream_options.continuous_usage_stats:
        raise unsupported("stream_options", "`continuous_usage_stats` is for conversations")
    if len(prompts) > 1:
        raise invalid("stream", f"{len(prompts)} prompts; one at a time can be streamed")
    if body.best_of not in (None, body.n or 1):
        raise invalid("best_of", "`best_of` chooses when all are written: it cannot be streamed")
    opened = await unless_gone(request, service.open(_One(body, prompts[0]), manner))
    return HeldStream(_events(opened, body), opened.held)


async def _events(opened: Opened, body: CompletionRequest) -> AsyncGenerator[bytes, None]:
    head = head_of("text_completion", "cmpl", opened.served.name)
    written, cached, chunks = 0, 0, _Chunks(opened.served, body, head)
    try:
        async for batch in opened.batches:
            data = b""
            for piece in batch:
                written += piece.delta.token_id is not None
                data += chunks.of(piece)
                if piece.delta.completion is not None:
                    cached = piece.delta.completion.num_cached_tokens
            if data:
                yield data
    except Exception as error:
        yield event(openai_error(api_error(error)))
        return
    if body.stream_options is not None and body.stream_options.include_usage:
        tokens = usage_of(len(opened.ask.prompt_ids), written, cached)
        yield event({**head, "choices": [], "usage": tokens})
    yield DONE


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Writes the chunks of one stream."""

    served: Served
    body: CompletionRequest
    head: Mapping[str, Any]

    def of(self, piece: Piece) -> bytes:
        """The chunk of a piece; none where it makes nothing certain."""
        delta, body = piece.delta, self.body
        choice: dict[str, Any] = {
            "index": delta.index,
            "text": delta.text,
            "logprobs": None,
            "finish_reason": None,
        }
        if delta.token_id is not None and body.logprobs is not None and delta.logprob is not None:
            tops = [delta.top_logprobs] if body.logprobs and delta.top_logprobs else None
            choice["logprobs"] = text_logprobs(
                self.served.llm.tokenizer, [delta.token_id], [delta.logprob], tops
            )
        if body.return_token_ids:
            choice["token_ids"] = [] if delta.token_id is None else [delta.token_id]
        if delta.completion is not None:
            choice |= finish_of(delta.completion)
        is_news = delta.text or delta.completion or choice["logprobs"] or body.return_token_ids
        return event({**self.head, "choices": [choice]}) if is_news else b""

"""What generate and chat share: the body, and the lines of an answer."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field

from tongwen.engine.completion import Completion, Delta
from tongwen.engine.constraint import Constraint, JsonObject, JsonSchema
from tongwen.engine.params import SamplingParams
from tongwen.server.errors import api_error, invalid, unsupported
from tongwen.server.ollama.durations import keep_alive_s, nanoseconds, now
from tongwen.server.ollama.errors import ollama_error
from tongwen.server.ollama.names import Empty, look_up
from tongwen.server.ollama.options import Options, options_of
from tongwen.server.openai.logprobs import chat_logprobs
from tongwen.server.served import Ask, Served
from tongwen.server.service import Done, Manner, Opened, Piece, Wish, caller_of, service_of
from tongwen.server.sse import LINES, HeldStream, to_json, unless_gone
from tongwen.server.wire import Wire
from tongwen.tokenizer.messages import ToolCall
from tongwen.tokenizer.tool_events import (
    ArgumentsDelta,
    CallClosed,
    CallOpened,
    ContentDelta,
    ToolEvent,
)

KeepAlive = Annotated[float | None, BeforeValidator(keep_alive_s)]
_REASONS = {"loop": "length", "language": "stop"}


def _not_thinking(given: object) -> None:
    """Refuse to think."""
    if given not in (None, False, ""):
        raise unsupported("think", "Qwen2 models answer without a hidden train of thought")


class SamplingRequest(Wire):
    """What is asked of a model that writes."""

    model: str
    stream: bool | None = None
    format: str | dict[str, Any] | None = None
    options: Options | None = None
    keep_alive: KeepAlive = None
    think: Annotated[None, BeforeValidator(_not_thinking)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    truncate: bool | None = None
    shift: bool | None = None
    debug_render_only: Annotated[Empty, Field(alias="_debug_render_only")] = None

    unserved: ClassVar[Mapping[str, str]] = {
        "width": "this is a model of text",
        "height": "this is a model of text",
        "steps": "this is a model of text",
    }

    def constraint(self) -> Constraint | None:
        """The form that the answer must have.

        Raises:
            ApiError: It is none that we know.
        """
        if isinstance(self.format, dict):
            return JsonSchema(self.format)
        if self.format not in (None, "", "json"):
            raise invalid("format", f"`format` is `json` or a JSON schema, not `{self.format}`")
        return JsonObject() if self.format == "json" else None

    def options_for(self, served: Served) -> Options:
        """The options, and where they say nothing those of a derived model.

        Raises:
            ApiError: They are none.
        """
        base = options_of(served.derived.parameters) if served.derived else Options()
        return base if self.options is None else self.options.over(base)

    def params(self, options: Options) -> SamplingParams:
        """How to sample.

        Raises:
            RequestError: A value is out of range.
            ApiError: Parameters contradict each other.
        """
        if self.top_logprobs and not self.logprobs:
            raise invalid("top_logprobs", "`top_logprobs` needs `logprobs`: true")
        if self.shift:
            raise unsupported("shift", "an answer ends where the context is full")
        return SamplingParams(
            **options.sampling(),
            constraint=self.constraint(),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )


@dataclass(slots=True)
class Timed:
    """A wish that notes when its model was ready for it."""

    wish: Wish
    begun: float = field(default_factory=time.perf_counter)
    ready: float = 0.0

    @property
    def model(self) -> str:
        """Which model."""
        return self.wish.model

    @property
    def length(self) -> int:
        """About how many characters it has."""
        return self.wish.length

    def ask(self, served: Served) -> Ask:
        """As the wish."""
        self.ready = time.perf_counter()
        return self.wish.ask(served)

    def end(self, done: Completion) -> dict[str, Any]:
        """What the last record says: why it ended, tokens and times."""
        return {
            "done": True,
            "done_reason": _REASONS.get(done.finish_reason, done.finish_reason),
            "total_duration": nanoseconds(time.perf_counter() - self.begun),
            "load_duration": nanoseconds(self.ready - self.begun),
            "prompt_eval_count": len(done.prompt_token_ids),
            "prompt_eval_duration": nanoseconds(done.ttft_s),
            "eval_count": len(done.token_ids),
            "eval_duration": nanoseconds(done.decode_s),
        }


@runtime_checkable
class Voice(Protocol):
    """How one of the two endpoints writes what the model says."""

    def said(self, text: str, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A piece of an answer."""
        ...

    def end(self, done: Completion) -> dict[str, Any]:
        """What only the last record holds."""
        ...


async def answer(request: Request, body: SamplingRequest, wish: Wish, voice: Voice) -> Response:
    """Answer a wish, streamed unless that was declined."""
    service = service_of(request)
    listed = look_up(service, body.model)
    manner = Manner(caller_of(request), keep_alive_s=body.keep_alive)
    timed = Timed(wish)
    if body.stream is not False:
        opened = await unless_gone(request, service.open(timed, manner, listed=listed))
        writer = _Records(opened.served, body, voice, timed)
        return HeldStream(_lines(opened, writer), opened.held, LINES)
    done = await unless_gone(request, service.complete(timed, manner, listed=listed))
    return JSONResponse(_whole(done, body, voice, timed))


async def preload(request: Request, model: str, keep_alive_s: float | None) -> str:
    """Bring a model into memory, or let it go where `keep_alive` is 0; which of both it was.

    Raises:
        ApiError: There is no such model.
        TongwenError: It cannot be loaded.
    """
    service = service_of(request)
    listed = look_up(service, model)
    if keep_alive_s == 0:
        service.pool.unload(listed)
        return "unload"
    async with service.lease(listed, keep_alive_s):
        return "load"


def _whole(done: Done, body: SamplingRequest, voice: Voice, timed: Timed) -> dict[str, Any]:
    (one,) = done.answers
    made = one.completion
    record = {
        "model": body.model,
        "created_at": now(),
        **voice.said(one.text, [call for each in one.calls if (call := _call(each))]),
        **timed.end(made),
        **voice.end(made),
    }
    if body.logprobs:
        tops, count = made.top_logprobs, body.top_logprobs or 0
        tokenizer = done.served.llm.tokenizer
        found = chat_logprobs(tokenizer, made.token_ids, made.logprobs, tops, count)
        record["logprobs"] = found["content"]
    return record


def _call(call: ToolCall) -> dict[str, Any] | None:
    """A call with its arguments as an object; `None` where the answer was cut inside them."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        return None
    return {"function": {"name": call.name, "arguments": arguments}}


async def _lines(opened: Opened, records: "_Records") -> AsyncIterator[bytes]:
    """The lines of a streamed answer; an error on the way is the last of them."""
    try:
        async for batch in opened.batches:
            if data := b"".join(line for piece in batch for line in records.of(piece)):
                yield data
    except Exception as error:
        yield to_json(ollama_error(api_error(error))) + b"\n"


class _Records:
    """Writes the records of one stream."""

    def __init__(self, served: Served, body: SamplingRequest, voice: Voice, timed: Timed) -> None:
        self._served, self._body, self._voice, self._timed = served, body, voice, timed
        self._open = ToolCall("", "")

    def of(self, piece: Piece) -> list[bytes]:
        """The lines of a piece; none where it makes nothing certain."""
        text = "".join(found.text for found in piece.events if isinstance(found, ContentDelta))
        calls = [call for found in piece.events if (call := self._heard(found))]
        facts, done = self._facts(piece.delta), piece.delta.completion
        lines = []
        if text or calls or facts:
            said = self._voice.said(text, calls)
            lines.append(self._line({**said, "done": False, **facts}))
        if done is not None:
            said = self._voice.said("", [])
            lines.append(self._line({**said, **self._timed.end(done), **self._voice.end(done)}))
        return lines

    def _heard(self, found: ToolEvent) -> dict[str, Any] | None:
        """A call, when its arguments are whole."""
        match found:
            case CallOpened(_, name):
                self._open = ToolCall(name, "")
            case ArgumentsDelta(_, text):
                self._open = ToolCall(self._open.name, self._open.arguments + text)
            case CallClosed():
                return _call(self._open)
        return None

    def _facts(self, delta: Delta) -> dict[str, Any]:
        if not self._body.logprobs or delta.token_id is None or delta.logprob is None:
            return {}
        tops = None if delta.top_logprobs is None else [delta.top_logprobs]
        count = self._body.top_logprobs or 0
        tokenizer = self._served.llm.tokenizer
        found = chat_logprobs(tokenizer, [delta.token_id], [delta.logprob], tops, count)
        return {"logprobs": found["content"]}

    def _line(self, record: Mapping[str, Any]) -> bytes:
        return to_json({"model": self._body.model, "created_at": now(), **record}) + b"\n"


def fitting(fits: Callable[[int], bool], cuts: Sequence[int]) -> int:
    """The first of some places, in order, from which on everything fits; else the last."""
    low, high = 0, len(cuts) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(cuts[middle]) else (middle + 1, high)
    return cuts[low]

"""The typed events of a streamed response, and the response that they add up to.

response.created ─► in_progress ─► (output_item.added ─► ... ─► output_item.done)* ─► completed,
incomplete or failed
"""

import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tongwen.engine.completion import Completion, Delta
from tongwen.server.errors import ApiError, api_error
from tongwen.server.openai.chat import new_call_id
from tongwen.server.openai.logprobs import chat_logprobs
from tongwen.server.openai.response_items import Status, call_item, message_item, text_part
from tongwen.server.service import Opened, Piece
from tongwen.server.sse import event
from tongwen.tokenizer.tool_events import (
    ArgumentsDelta,
    CallClosed,
    CallOpened,
    ContentDelta,
    ToolEvent,
)

Events = list[dict[str, Any]]

_CUT = {"length": "max_output_tokens", "loop": "max_output_tokens", "language": "content_filter"}


async def response_events(
    opened: Opened, echo: Mapping[str, Any], num_logprobs: int | None
) -> AsyncIterator[bytes]:
    """The events of a streamed answer; an error on the way is the last of them."""
    writer = ResponseWriter(opened, echo, num_logprobs)
    number = 0
    try:
        yield _written(writer.begin(), number)
        number += 2
        async for batch in opened.batches:
            events = [found for piece in batch for found in writer.of(piece)]
            if events:
                yield _written(events, number)
            number += len(events)
    except Exception as error:
        yield _written(writer.fail(api_error(error)), number)


def _written(events: Events, number: int) -> bytes:
    numbered = enumerate(events, number)
    return b"".join(event({**one, "sequence_number": n}, one["type"]) for n, one in numbered)


class ResponseWriter:
    """Turns the pieces of an answer into events, and into the response as a whole.

    Args:
        opened: The answer.
        echo: What the response repeats of what was asked.
        num_logprobs: Log-probabilities wanted beside each token's own; `None`: none at all.
    """

    def __init__(self, opened: Opened, echo: Mapping[str, Any], num_logprobs: int | None) -> None:
        self._tokenizer, self._num_logprobs = opened.served.llm.tokenizer, num_logprobs
        self._prompt_tokens = len(opened.ask.prompt_ids)
        self._output: list[dict[str, Any]] = []
        self._text, self._arguments, self._open = "", "", ""
        self._logprobs: list[dict[str, Any]] = []
        self._told = 0
        self.response: dict[str, Any] = {
            "id": f"resp_{secrets.token_hex(24)}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": opened.served.name,
            "output": [],
            "usage": None,
            **echo,
        }

    def begin(self) -> Events:
        """The events before the first token."""
        kinds = ("response.created", "response.in_progress")
        return [{"type": kind, "response": dict(self.response)} for kind in kinds]

    def of(self, piece: Piece) -> Events:
        """The events of a piece; none where it makes nothing certain."""
        self._note_logprobs(piece.delta)
        events = [one for found in piece.events for one in self._part(found)]
        done = piece.delta.completion
        return events if done is None else events + self._end(done)

    def fail(self, error: ApiError) -> Events:
        """The event of an answer that breaks off."""
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        self.response["error"] = {"code": code, "message": error.message}
        self.response["status"] = "failed"
        return [{"type": "response.failed", "response": self.response}]

    def _note_logprobs(self, delta: Delta) -> None:
        if self._num_logprobs is None or delta.token_id is None or delta.logprob is None:
            return
        tops = None if delta.top_logprobs is None else [delta.top_logprobs]
        told = chat_logprobs(
            self._tokenizer, [delta.token_id], [delta.logprob], tops, self._num_logprobs
        )
        self._logprobs += told["content"]

    def _part(self, found: ToolEvent) -> Events:
        match found:
            case ContentDelta(text):
                begun = [] if self._open == "message" else self._open_message()
                self._text += text
                news = self._logprobs[self._told :]
                self._told = len(self._logprobs)
                delta = {"content_index": 0, "delta": text, "logprobs": news}
                return [*begun, self._event("response.output_text.delta", **delta)]
            case CallOpened(_, name):
                return self._open_call(name)
            case ArgumentsDelta(_, text):
                self._arguments += text
                return [self._event("response.function_call_arguments.delta", delta=text)]
            case CallClosed(_, complete):
                return self._close("completed" if complete else "incomplete")

    def _open_message(self) -> Events:
        closed = self._close()
        self._open, self._text = "message", ""
        self._logprobs = self._logprobs[self._told :]
        self._told = 0
        self._output.append(message_item(_new_id("msg"), [], "in_progress"))
        part = {"content_index": 0, "part": text_part("", [])}
        return [*closed, self._added(), self._event("response.content_part.added", **part)]

    def _open_call(self, name: str) -> Events:
        closed = self._close()
        self._open, self._arguments = "call", ""
        call = call_item(_new_id("fc"), new_call_id(), name, "", "in_progress")
        self._output.append(call)
        return [*closed, self._added()]

    def _close(self, status: Status = "completed") -> Events:
        """End what is open."""
        was, self._open = self._open, ""
        if not was:
            return []
        if was == "call":  # its tokens are no text
            self._logprobs, self._told = [], 0
        item = {**self._output[-1], "status": status}
        events = self._text_done(item) if was == "message" else self._call_done(item)
        self._output[-1] = item
        done = {"type": "response.output_item.done", "output_index": len(self._output) - 1}
        return [*events, {**done, "item": item}]

    def _text_done(self, item: dict[str, Any]) -> Events:
        part = text_part(self._text, self._logprobs)
        item["content"] = [part]
        said = {"content_index": 0, "text": self._text, "logprobs": self._logprobs}
        return [
            self._event("response.output_text.done", **said),
            self._event("response.content_part.done", content_index=0, part=part),
        ]

    def _call_done(self, item: dict[str, Any]) -> Events:
        item["arguments"] = self._arguments
        said = {"arguments": self._arguments, "name": item["name"]}
        return [self._event("response.function_call_arguments.done", **said)]

    def _end(self, done: Completion) -> Events:
        cut = _CUT.get(done.finish_reason)
        status: Status = "incomplete" if cut else "completed"
        events = self._close(status)
        if not self._output:  # an answer of no text is a message all the same
            events = [*self._open_message(), *self._close(status)]
        self.response |= {
            "status": status,
            "incomplete_details": {"reason": cut} if cut else None,
            "output": self._output,
            "usage": _usage(self._prompt_tokens, done),
        }
        return [*events, {"type": f"response.{status}", "response": self.response}]

    def _added(self) -> dict[str, Any]:
        place = len(self._output) - 1
        kind = "response.output_item.added"
        return {"type": kind, "output_index": place, "item": self._output[-1]}

    def _event(self, kind: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - by kind
        item = {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}
        return {"type": kind, **item, **more}


def _usage(prompt: int, done: Completion) -> dict[str, Any]:
    written = len(done.token_ids)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": done.num_cached_tokens, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + written,
    }


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"

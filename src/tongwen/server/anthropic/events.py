"""The events of a streamed message.

message_start ─► ping ─► (content_block_start ─► deltas ─► content_block_stop)* ─► message_delta
─► message_stop; or, wherever it happens, error.
"""

from collections.abc import AsyncIterator
from typing import Any

from tongwen.server.anthropic.errors import anthropic_error
from tongwen.server.anthropic.parts import message_of, new_id, stop_of, usage_of
from tongwen.server.errors import api_error
from tongwen.server.service import Opened, Piece
from tongwen.server.sse import event
from tongwen.tokenizer.tool_events import (
    ArgumentsDelta,
    CallClosed,
    CallOpened,
    ContentDelta,
    ToolEvent,
)


async def message_events(opened: Opened, request_id: str) -> AsyncIterator[bytes]:
    """The events of a streamed answer; an error on the way is the last of them."""
    events = _Events(opened)
    try:
        yield events.begin()
        async for batch in opened.batches:
            if data := b"".join(events.of(piece) for piece in batch):
                yield data
    except Exception as error:
        told = api_error(error)
        told.request_id = request_id
        yield event(anthropic_error(told), "error")


class _Events:
    """Writes the events of one stream.

    Args:
        opened: The answer.
    """

    def __init__(self, opened: Opened) -> None:
        self._model, self._prompt = opened.served.name, len(opened.ask.prompt_ids)
        self._index, self._open = -1, ""
        self._calls = False

    def begin(self) -> bytes:
        """The events before the first token."""
        message = {**message_of(self._model, []), "usage": usage_of(self._prompt, 0)}
        return _event("message_start", message=message) + _event("ping")

    def of(self, piece: Piece) -> bytes:
        """The events of a piece; none where it makes nothing certain."""
        said = b"".join(self._part(found) for found in piece.events)
        done = piece.delta.completion
        if done is None:
            return said
        usage = usage_of(self._prompt, len(done.token_ids), done.num_cached_tokens)
        delta = stop_of(done, calls=self._calls)
        return (
            said
            + self._close()
            + _event("message_delta", delta=delta, usage=usage)
            + _event("message_stop")
        )

    def _part(self, found: ToolEvent) -> bytes:
        match found:
            case ContentDelta(text):
                begun = b""
                if self._open != "text":
                    begun = self._begin({"type": "text", "text": "", "citations": None})
                return begun + self._delta({"type": "text_delta", "text": text})
            case CallOpened(_, name):
                self._calls = True
                call = {"type": "tool_use", "id": new_id("toolu"), "name": name, "input": {}}
                return self._begin(call)
            case ArgumentsDelta(_, text):
                return self._delta({"type": "input_json_delta", "partial_json": text})
            case CallClosed():
                return self._close()

    def _begin(self, block: dict[str, Any]) -> bytes:
        ended = self._close()
        self._index, self._open = self._index + 1, block["type"]
        return ended + _event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return _event("content_block_stop", index=self._index)


def _event(kind: str, **more: Any) -> bytes:  # noqa: ANN401 - whatever the kind carries
    return event({"type": kind, **more}, kind)

"""`POST /api/chat`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response

from tongwen.engine.completion import Completion
from tongwen.server.errors import unsupported
from tongwen.server.ollama.durations import now
from tongwen.server.ollama.wire import SamplingRequest, answer, fitting, preload
from tongwen.server.served import Ask, Served
from tongwen.server.sse import to_json
from tongwen.server.wire import JsonRoute, Wire

router = APIRouter(route_class=JsonRoute, tags=["Ollama"])


class CallFunction(Wire):
    """What was called."""

    name: str
    arguments: dict[str, Any] | str = ""
    idle: ClassVar[frozenset[str]] = frozenset({"index"})


class Call(Wire):
    """A call that an earlier answer made."""

    function: CallFunction
    idle: ClassVar[frozenset[str]] = frozenset({"id", "type"})


class ChatMessage(Wire):
    """One turn."""

    role: str
    content: str | None = None
    tool_calls: list[Call] | None = None
    images: list[Any] | None = None
    thinking: str | None = None
    idle: ClassVar[frozenset[str]] = frozenset({"tool_name", "tool_call_id", "name"})

    def plain(self) -> dict[str, Any]:
        """The same as OpenAI's.

        Raises:
            ApiError: It holds what a model of text does not read.
        """
        if self.images:
            raise unsupported("images", "this is a model of text")
        if self.thinking:
            raise unsupported("thinking", "Qwen2 models have no hidden train of thought")
        message: dict[str, Any] = {"role": self.role, "content": self.content or ""}
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        return message


class ChatRequest(SamplingRequest):
    """A conversation to be answered."""

    messages: list[ChatMessage] | None = None
    tools: list[dict[str, Any]] | None = None

    @property
    def length(self) -> int:
        """About how many characters it has."""
        return len(str(self.messages)) + len(str(self.tools))

    def ask(self, served: Served) -> Ask:
        """What is asked of the model.

        Raises:
            TongwenError: It cannot be served.
            ApiError: Parameters contradict each other.
        """
        options = self.options_for(served)
        params = self.params(options)
        messages = [message.plain() for message in self.messages or ()]
        tools = [{"type": "function", **tool} for tool in self.tools or ()]

        def asked(some: Sequence[Mapping[str, Any]]) -> Ask:
            return served.ask_chat(some, params, tools=tools)

        if self.truncate:
            most = min(options.num_ctx or served.llm.context, served.llm.context) - 1
            messages = _kept(messages, lambda some: len(asked(some).prompt_ids) <= most)
        return served.within(replace(asked(messages), has_defaults=True), options.num_ctx)


def _kept(
    messages: list[dict[str, Any]], fits: Callable[[Sequence[Mapping[str, Any]]], bool]
) -> list[dict[str, Any]]:
    """The conversation without its oldest turns, as many as it takes; the system text stays.

    It is cut before messages of the user, so that calls stay with their results.
    """
    head = messages[:1] if messages[0]["role"] == "system" else []
    cuts = [
        place
        for place, message in enumerate(messages)
        if place == len(head) or (place > len(head) and message["role"] == "user")
    ]
    if not cuts:
        return messages
    cut = fitting(lambda place: fits([*head, *messages[place:]]), cuts)
    return [*head, *messages[cut:]]


class _Turns:
    """Answers as `/api/chat` writes them."""

    def said(self, text: str, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A piece of an answer."""
        message: dict[str, Any] = {"role": "assistant", "content": text}
        return {"message": {**message, "tool_calls": list(calls)} if calls else message}

    def end(self, done: Completion) -> dict[str, Any]:
        """Nothing more."""
        return {}


@router.post("/api/chat")
async def chat(request: Request, body: ChatRequest) -> Response:
    """Answer a conversation; without messages, bring the model into memory or let it go."""
    if not body.messages:
        reason = await preload(request, body.model, body.keep_alive)
        message = {"role": "assistant", "content": ""}
        record = {"model": body.model, "created_at": now(), "message": message, "done": True}
        return Response(to_json({**record, "done_reason": reason}), media_type="application/json")
    return await answer(request, body, body, _Turns())

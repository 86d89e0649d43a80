"""Conversations as callers write them, checked once for every chat format."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tongwen.errors import TokenizerError

ROLES = ("system", "user", "assistant", "tool")
_KEYS = {"role", "content", "tool_calls", "token_ids", "name", "tool_call_id"}
# What a client sends back of an answer it was given; of no weight for the model while empty.
_IDLE_KEYS = {"refusal", "annotations", "audio", "function_call", "reasoning_content"}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model asks for."""

    name: str
    """The function's name."""

    arguments: str
    """Its arguments, as the JSON text that the model wrote."""

    def as_message(self) -> dict[str, Any]:
        """This call as an entry of `tool_calls`, without the id that a server adds."""
        return {"type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, its text parts joined."""

    role: str
    """One of `ROLES`."""

    content: str
    """The text; empty where only tools are called."""

    tool_calls: tuple[ToolCall, ...] = ()
    """Functions that an assistant turn asks for."""

    token_ids: tuple[int, ...] | None = None
    """The sampled ids of an assistant turn, kept instead of encoding its content anew."""


def read_messages(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Check a conversation in the form of OpenAI's `messages`.

    An assistant message may also carry `token_ids`.  `name` and `tool_call_id` are accepted and
    do not show in any Qwen2 format.

    Raises:
        TokenizerError: There is no message; or one has an unknown role or key, no content, a part
            that is not text, ids that are no ids, or answers a tool call that nobody made.
    """
    if not messages:
        raise TokenizerError("the conversation is empty")
    read = [_message(message, place) for place, message in enumerate(messages)]
    for place, message in enumerate(read):
        if message.role == "tool" and not _was_called(read[:place]):
            raise TokenizerError(f"message {place} answers a tool call that no assistant made")
    return read


def read_tools(tools: Sequence[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    """Check tool definitions in the form of OpenAI's `tools`; none is an empty list.

    Raises:
        TokenizerError: One is no function with a name.
    """
    for place, tool in enumerate(tools or ()):
        match tool:
            case {"type": "function", "function": {"name": str()}}:
                continue
        raise TokenizerError(
            f"tool {place} is no function with a name",
            hint='write {"type": "function", "function": {"name": ..., "parameters": ...}}',
        )
    return list(tools or ())


def dump_json(value: object) -> str:
    """JSON as the `tojson` of chat templates prints it: unsorted, spaced, Unicode as it is."""
    return json.dumps(value, ensure_ascii=False)


def _message(message: Mapping[str, Any], place: int) -> Message:
    if not isinstance(message, Mapping):
        raise TokenizerError(f"message {place} is no object")
    role = message.get("role")
    if role not in ROLES:
        known = ", ".join(f"`{name}`" for name in ROLES)
        raise TokenizerError(f"message {place} has role `{role}`; known are {known}")
    for key, value in message.items():
        if key not in _KEYS and not (key in _IDLE_KEYS and not value):
            raise TokenizerError(f"message {place} has a key `{key}` that is not understood")
    if role != "assistant" and (message.get("tool_calls") or message.get("token_ids") is not None):
        raise TokenizerError(f"message {place} of role `{role}` calls tools or carries ids")
    calls = tuple(_call(call, place) for call in _list(message.get("tool_calls"), place))
    token_ids = _token_ids(message.get("token_ids"), place)
    may_be_silent = bool(calls) or token_ids is not None
    return Message(role, _content(message.get("content"), place, may_be_silent), calls, token_ids)


def _content(content: object, place: int, may_be_silent: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and may_be_silent:
        return ""
    if not isinstance(content, list):
        raise TokenizerError(f"message {place} has no content")
    return "".join(_part(part, place) for part in content)


def _part(part: object, place: int) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind)} if kind != "text":
            raise TokenizerError(
                f"message {place} has a part of type `{kind}`; this model reads text only"
            )
    raise TokenizerError(f"message {place} has a content part that is no text")


def _list(calls: object, place: int) -> list[object]:
    if calls is None or isinstance(calls, list | tuple):
        return list(calls or ())
    raise TokenizerError(f"message {place} has `tool_calls` that are no list")


def _call(call: object, place: int) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else call
    match function:
        case {"name": str(name), "arguments": str(arguments)}:
            return ToolCall(name, arguments)
        case {"name": str(name), "arguments": Mapping() as arguments}:
            return ToolCall(name, dump_json(arguments))
    raise TokenizerError(f"message {place} has a tool call without a name and arguments")


def _token_ids(token_ids: object, place: int) -> tuple[int, ...] | None:
    if token_ids is None:
        return None
    if isinstance(token_ids, list | tuple) and all(type(token) is int for token in token_ids):
        return tuple(token_ids)
    raise TokenizerError(f"message {place} has `token_ids` that are no list of ids")


def _was_called(before: Sequence[Message]) -> bool:
    """Whether the last message that is no tool's is one that called or may have called a tool."""
    callers = [message for message in before if message.role != "tool"]
    return bool(callers) and (bool(callers[-1].tool_calls) or callers[-1].token_ids is not None)

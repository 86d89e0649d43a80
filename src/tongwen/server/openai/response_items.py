"""What goes into `/v1/responses` and comes out: messages, calls, and their results."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Tag

from tongwen.server.errors import invalid, unsupported
from tongwen.server.wire import Wire

_TEXT_ONLY = "this is a model of text"
_UNSERVED_PARTS = {"input_image": _TEXT_ONLY, "input_file": _TEXT_ONLY, "input_audio": _TEXT_ONLY}
_UNSERVED_ITEMS = {
    "item_reference": "the server keeps no answers; send the item itself",
    "reasoning": "Qwen2 models answer without a hidden train of thought",
}
_ITEMS = ("message", "function_call", "function_call_output")
_PARTS = ("input_text", "output_text", "refusal")

Status = Literal["in_progress", "completed", "incomplete"]


def _kind_of_part(part: object) -> str:
    kind = _named(part)
    if isinstance(kind, str) and kind in _UNSERVED_PARTS:
        raise unsupported(kind, _UNSERVED_PARTS[kind])
    if kind not in _PARTS:
        raise invalid("input", f"a part has the type `{kind}`; served are {', '.join(_PARTS)}")
    return "refusal" if kind == "refusal" else "text"


def _kind_of_item(item: object) -> str:
    kind = _named(item)
    if kind is None and (not isinstance(item, Mapping) or "role" in item):
        return "message"  # the type may be left out
    if isinstance(kind, str) and kind in _UNSERVED_ITEMS:
        raise unsupported(kind, _UNSERVED_ITEMS[kind])
    if kind not in _ITEMS:
        raise invalid("input", f"an item has the type `{kind}`; served are {', '.join(_ITEMS)}")
    return str(kind)


def _named(value: object) -> object:
    return value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)


class TextPart(Wire):
    """Text of a message."""

    type: Literal["input_text", "output_text"]
    text: str

    idle: ClassVar[frozenset[str]] = frozenset({"annotations", "logprobs"})  # of a former answer


class RefusalPart(Wire):
    """What an assistant said in place of an answer."""

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        """The same."""
        return self.refusal


def _parts(content: object) -> object:
    return [{"type": "input_text", "text": content}] if isinstance(content, str) else content


Parts = Annotated[
    list[
        Annotated[
            Annotated[TextPart, Tag("text")] | Annotated[RefusalPart, Tag("refusal")],
            Discriminator(_kind_of_part),
        ]
    ],
    BeforeValidator(_parts),
]


class _Item(Wire):
    """A turn or a part of one; what names it and how far it came are notes of a former answer."""

    idle: ClassVar[frozenset[str]] = frozenset({"id", "status"})


class InputMessage(_Item):
    """A turn of a conversation."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts

    idle: ClassVar[frozenset[str]] = _Item.idle | {"phase"}

    @property
    def text(self) -> str:
        """Its parts, joined."""
        return "".join(part.text for part in self.content)


class FunctionCall(_Item):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str

    unserved: ClassVar[Mapping[str, str]] = {
        "async": "calls are answered in the conversation",
        "caller": "calls are the model's own",
        "namespace": "functions have one name",
    }


class FunctionCallOutput(_Item):
    """What a call gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: Parts

    @property
    def text(self) -> str:
        """Its parts, joined."""
        return "".join(part.text for part in self.output)


Item = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")],
    Discriminator(_kind_of_item),
]


def read_input(given: object) -> object:
    """A text as the message that it stands for."""
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


def chat_messages(instructions: str | None, items: Sequence[Item]) -> list[dict[str, Any]]:
    """A conversation as `/v1/chat/completions` has it.

    Raises:
        ApiError: A result belongs to no call.
    """
    written: list[dict[str, Any]] = []
    if instructions is not None:
        written.append({"role": "system", "content": instructions})
    made: set[str] = set()
    for item in items:
        match item:
            case InputMessage(role="developer"):
                written.append({"role": "system", "content": item.text})
            case InputMessage():
                written.append({"role": item.role, "content": item.text})
            case FunctionCall():
                made.add(item.call_id)
                _add_call(written, item)
            case FunctionCallOutput():
                if item.call_id not in made:
                    raise invalid("input", f"no `function_call` has the id `{item.call_id}`")
                written.append({"role": "tool", "content": item.text})
    return written


def _add_call(written: list[dict[str, Any]], call: FunctionCall) -> None:
    """Put a call into the assistant's turn, which its text may have begun."""
    if not written or written[-1]["role"] != "assistant":
        written.append({"role": "assistant", "content": ""})
    function = {"name": call.name, "arguments": call.arguments}
    written[-1].setdefault("tool_calls", []).append({"type": "function", "function": function})


def message_item(item_id: str, content: list[dict[str, Any]], status: Status) -> dict[str, Any]:
    """A message of the assistant's."""
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def text_part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
    """The text of such a message."""
    return {"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text}


def call_item(
    item_id: str, call_id: str, name: str, arguments: str, status: Status
) -> dict[str, Any]:
    """A call."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "arguments": arguments,
        "call_id": call_id,
        "name": name,
    }

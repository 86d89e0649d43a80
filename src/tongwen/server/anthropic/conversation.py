"""Conversations as Anthropic writes them, in the words that the chat formats read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from tongwen.server.errors import invalid, unsupported
from tongwen.server.wire import Wire
from tongwen.tokenizer.messages import dump_json

_SERVED = ("text", "tool_use", "tool_result")
_TEXT_ONLY = "this is a model of text"
_UNSERVED = {
    "image": _TEXT_ONLY,
    "document": _TEXT_ONLY,
    "search_result": "put its text into a `text` block",
    "thinking": "Qwen2 models answer without a hidden train of thought",
    "redacted_thinking": "Qwen2 models answer without a hidden train of thought",
    "container_upload": "there are no containers",
    "server_tool_use": "the server runs no tools",
}


class _Block(Wire):
    """A block of a message."""

    unserved: ClassVar[Mapping[str, str]] = {
        "caller": "calls are the model's own",
        "toolset_name": "tools are given one by one",
    }
    idle: ClassVar[frozenset[str]] = frozenset({"cache_control"})  # prefixes are always cached


class TextBlock(_Block):
    """Text."""

    type: Literal["text"]
    text: str

    unserved: ClassVar[Mapping[str, str]] = {"citations": "no sources are kept"}


class ToolUseBlock(_Block):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]

    def as_call(self) -> dict[str, Any]:
        """The call as an entry of OpenAI's `tool_calls`."""
        return {"function": {"name": self.name, "arguments": dump_json(self.input)}}


def _kind(block: object) -> str:
    kind = block.get("type") if isinstance(block, Mapping) else getattr(block, "type", None)
    if kind in _SERVED:
        return str(kind)
    if isinstance(kind, str) and kind in _UNSERVED:
        raise unsupported(kind, _UNSERVED[kind])
    raise invalid("messages", f"a block has the type `{kind}`; served are {', '.join(_SERVED)}")


def _blocks(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Texts = Annotated[
    list[Annotated[Annotated[TextBlock, Tag("text")], Discriminator(_kind)]],
    BeforeValidator(_blocks),
]


class ToolResultBlock(_Block):
    """What a call gave."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: Texts = Field(default_factory=list)
    is_error: bool = False

    @property
    def text(self) -> str:
        """The result; of a call that failed with a word that says so, as no format has a place."""
        said = text_of(self.content)
        return f"Error: {said}" if self.is_error else said


Block = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ToolUseBlock, Tag("tool_use")]
    | Annotated[ToolResultBlock, Tag("tool_result")],
    Discriminator(_kind),
]


class InputMessage(Wire):
    """A turn of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[list[Block], BeforeValidator(_blocks)]


def text_of(blocks: Sequence[TextBlock]) -> str:
    """The text of blocks, each on lines of its own."""
    return "\n".join(block.text for block in blocks)


def chat_messages(
    system: Sequence[TextBlock], messages: Sequence[InputMessage]
) -> list[dict[str, Any]]:
    """A conversation in OpenAI's words.

    Raises:
        ApiError: A result belongs to no call, or a block stands in a turn of the wrong role.
    """
    written: list[dict[str, Any]] = []
    if system:
        written.append({"role": "system", "content": text_of(system)})
    made: set[str] = set()
    for place, message in enumerate(messages):
        _check_roles(message, place, made)
        if message.role == "assistant":
            written.append(_assistant(message.content))
        else:
            written += _turns(message)
    return written


def _check_roles(message: InputMessage, place: int, made: set[str]) -> None:
    """Refuse calls and results out of place; note the calls in `made`."""
    for block in message.content:
        where = f"messages[{place}]"
        if isinstance(block, ToolUseBlock):
            if message.role != "assistant":
                raise invalid(where, f"`{where}` of role `{message.role}` holds a `tool_use`")
            made.add(block.id)
        elif isinstance(block, ToolResultBlock):
            if message.role != "user":
                raise invalid(where, f"`{where}` of role `{message.role}` holds a `tool_result`")
            if block.tool_use_id not in made:
                raise invalid(where, f"`{where}`: no `tool_use` has the id `{block.tool_use_id}`")


def _assistant(content: Sequence[Block]) -> dict[str, Any]:
    """An assistant's turn; its texts are joined as they were written."""
    said = "".join(block.text for block in content if isinstance(block, TextBlock))
    calls = [block.as_call() for block in content if isinstance(block, ToolUseBlock)]
    turn: dict[str, Any] = {"role": "assistant", "content": said}
    return {**turn, "tool_calls": calls} if calls else turn


def _turns(message: InputMessage) -> Iterator[dict[str, Any]]:
    """A user's turn: each result, and the text between them."""
    texts: list[TextBlock] = []
    for block in message.content:
        if isinstance(block, TextBlock):
            texts.append(block)
        elif isinstance(block, ToolResultBlock):
            if texts:
                yield {"role": message.role, "content": text_of(texts)}
                texts = []
            yield {"role": "tool", "content": block.text}
    if texts or not message.content:
        yield {"role": message.role, "content": text_of(texts)}

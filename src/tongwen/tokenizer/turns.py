"""Messages laid out as turns, in the two tool forms of `tools.py`."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongwen.tokenizer.messages import Message, dump_json
from tongwen.tokenizer.tools import (
    HERMES_AFTER,
    HERMES_BEFORE,
    RESULT,
    RETURN,
    hermes_call,
    qwen2_call,
    qwen2_section,
)

_CHINESE = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a turn's text, by one writer."""

    text: str
    """What it says; empty where `token_ids` say it."""

    is_markup: bool = False
    """Written by the renderer, so that control strings in it are control tokens."""

    trained: bool = False
    """Written by the assistant, so that the loss covers it."""

    token_ids: tuple[int, ...] | None = None
    """Sampled ids, kept as they are."""


@dataclass(slots=True)
class Turn:
    """One turn between `<|im_start|>` and `<|im_end|>`."""

    role: str
    """The word after `<|im_start|>`."""

    parts: list[Part] = field(default_factory=list)
    """Its text."""

    is_open: bool = False
    """Generation continues it, so its end is not written."""


def hermes_turns(
    messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], default_system: str | None
) -> list[Turn]:
    """Turns in Qwen2.5's form; consecutive tool results share a user turn.

    Raises:
        TokenizerError: The arguments of a call are no JSON.
    """
    system, rest = _split_system(messages, default_system)
    turns: list[Turn] = []
    if tools:
        definitions = [part for tool in tools for part in (_markup("\n"), Part(dump_json(tool)))]
        parts = [_markup(HERMES_BEFORE), *definitions, _markup(HERMES_AFTER)]
        turns.append(Turn("system", [Part(system or ""), *parts]))
    elif system is not None:
        turns.append(Turn("system", [Part(system)]))
    before = "system"
    for message in rest:
        if message.role == "tool":
            result = [Part(message.content), _markup("\n</tool_response>")]
            if before == "tool":
                turns[-1].parts += [_markup("\n<tool_response>\n"), *result]
            else:
                turns.append(Turn("user", [_markup("<tool_response>\n"), *result]))
        elif message.role == "assistant":
            turns.append(Turn("assistant", list(_hermes_answer(message))))
        else:
            turns.append(Turn(message.role, [Part(message.content)]))
        before = message.role
    return turns


def qwen2_turns(
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    default_system: str | None,
    *,
    parallel: bool,
    decode: Callable[[Sequence[int]], str],
) -> list[Turn]:
    """Turns in Qwen2's own form: calls, results and the answer to them share an assistant turn.

    The turn is cut where the writer changes: the model writes up to `✿RESULT✿`, at which it stops;
    its caller the results and `✿RETURN✿`; the model what follows, the colon first.
    """
    turns = _qwen2_system(messages, tools, default_system, parallel)
    _, rest = _split_system(messages, None)
    before = "system"
    for message in rest:
        if before == "tool" and message.role not in ("tool", "assistant"):
            turns[-1].parts.append(Part(f"\n{RETURN}: "))
        if message.role == "tool":
            turns[-1].parts += _qwen2_result(turns[-1].parts, message, before, decode)
        elif message.role == "assistant" and before == "tool":
            turns[-1].parts += [Part(f"\n{RETURN}"), *_qwen2_answer(message, ": ")]
        elif message.role == "assistant":
            turns.append(Turn("assistant", list(_qwen2_answer(message, ""))))
        else:
            turns.append(Turn(message.role, [Part(message.content)]))
        before = message.role
    if before == "tool":
        turns[-1].parts.append(Part(f"\n{RETURN}"))
        turns[-1].is_open = True
    return turns


def _markup(text: str, *, trained: bool = False) -> Part:
    return Part(text, is_markup=True, trained=trained)


def _split_system(
    messages: Sequence[Message], default: str | None
) -> tuple[str | None, Sequence[Message]]:
    if messages[0].role == "system":
        return messages[0].content, messages[1:]
    return default, messages


def _hermes_answer(message: Message) -> Iterator[Part]:
    if message.token_ids is not None:
        yield Part("", trained=True, token_ids=message.token_ids)
        return
    if message.content:
        yield Part(message.content, trained=True)
    for place, call in enumerate(message.tool_calls):
        opening, text, closing = hermes_call(call)
        newline = "\n" if place or message.content else ""
        yield _markup(newline + opening, trained=True)
        yield Part(text, trained=True)
        yield _markup(closing, trained=True)


def _qwen2_system(
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    default_system: str | None,
    parallel: bool,
) -> list[Turn]:
    system, _ = _split_system(messages, None if tools else default_system)
    paragraphs = [] if system is None else [system]
    if tools:
        read = [message.content for message in messages if message.role in ("system", "user")]
        chinese = any(map(_CHINESE.search, read))
        paragraphs.append(qwen2_section(tools, chinese=chinese, parallel=parallel))
    return [Turn("system", [Part("\n\n".join(paragraphs))])] if paragraphs else []


def _qwen2_answer(message: Message, continued: str) -> Iterator[Part]:
    if message.token_ids is not None:
        yield Part("", trained=True, token_ids=message.token_ids)
        return
    said = [continued + message.content] if continued or message.content else []
    yield Part("\n".join([*said, *map(qwen2_call, message.tool_calls)]), trained=True)


def _qwen2_result(
    parts: list[Part], message: Message, before: str, decode: Callable[[Sequence[int]], str]
) -> list[Part]:
    result = Part(f": {message.content}")
    if before == "tool":
        return [Part(f"\n{RESULT}"), result]
    sampled = parts[-1].token_ids if parts else None
    if sampled is not None and decode(sampled).endswith(RESULT):
        return [result]
    return [Part(f"\n{RESULT}", trained=sampled is None), result]

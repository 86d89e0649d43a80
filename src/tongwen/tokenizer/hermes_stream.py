"""Qwen2.5's tool calls, read as they arrive: JSON between `<tool_call>` and `</tool_call>`.

A call ends where its JSON does, so its strings may hold the markers.  The closing marker and the
blanks before it are dropped, as is one newline before the opening marker, which the chat template
writes there.

Coder models, measured on the 0.5B, leave the markers out: their answer is the JSON of the call,
bare or in a fence.  An answer that begins so, with the name of a tool that was given, is read as
that call.
"""

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from tongwen.tokenizer.messages import ToolCall, dump_json
from tongwen.tokenizer.tool_events import StatefulStream, overlap

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_BLANKS = " \t\r\n"
# All that may stand before the arguments where they are to be reported as they come.
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"arguments"\s*:\s*')


_FENCE = re.compile(r"\s*(?:```[a-z]*\s*)?")
_MAY_BE_FENCE = re.compile(r"\s*(?:`{0,3}|```[a-z]*\s*)")


class HermesStream(StatefulStream):
    """Reads one answer; a `ToolStream`.

    Args:
        constrained: Report arguments as they come; otherwise a call once it is whole and valid.
        names: Tools whose calls are read without markers too, at the beginning of the answer.
    """

    def __init__(self, *, constrained: bool, names: Collection[str] = ()) -> None:
        self._constrained, self._names = constrained, names
        super().__init__()
        self._opening = ""
        self._json = _Scan()
        self._state = self._bare if names else self._free

    def _bare(self, final: bool) -> bool:
        """A call without markers, at the beginning of an answer or after another such."""
        fence = _FENCE.match(self._text)
        assert fence, "it matches nothing too"
        written = self._text[fence.end() :]
        if not final and _MAY_BE_FENCE.fullmatch(self._text):
            return False
        reached = self._json.scan(written) if _may_call(written, self._names) else "broken"
        if reached is None and not final:
            return False
        call = _read_call(written[: self._json.place]) if reached == "end" else None
        if call is None:
            self._state = self._free
            return True
        self._report.call(call)
        self._take(fence.end() + self._json.place)
        self._json = _Scan()
        self._state = self._unfence if "`" in fence[0] else self._bare
        return True

    def _unfence(self, final: bool) -> bool:
        """The end of a fence around a call."""
        rest = self._text.lstrip()
        if not final and len(rest) < 3 and "```".startswith(rest):
            return False
        self._text = rest.removeprefix("```")
        self._state = self._bare
        return True

    def _free(self, final: bool) -> bool:
        """Text until a call opens."""
        found = self._text.find(_OPEN)
        if found < 0:
            held = 0 if final else overlap(self._text, (_OPEN, "\n" + _OPEN))
            self._report.content(self._take(len(self._text) - held))
            return False
        said = self._take(found).removesuffix("\n")
        self._report.content(said)
        self._opening = "\n" * (found - len(said)) + self._take(len(_OPEN))
        self._json = _Scan()
        self._state = self._call
        return True

    def _call(self, final: bool) -> bool:
        """A call of which nothing was reported yet."""
        reached = self._json.scan(self._text, until_arguments=self._constrained)
        if reached == "arguments" and (head := _HEAD.fullmatch(self._text, 0, self._json.place)):
            self._report.opened(head[1])
            self._take(self._json.place)
            self._json.place = 0
            self._state = self._arguments
        elif reached == "arguments":  # in an order of its own: wait for the whole
            return True
        elif reached == "end" and (call := _read_call(self._text[: self._json.place])):
            self._report.call(call)
            self._take(self._json.place)
            self._state = self._after
        elif reached is None and not final:
            return False
        else:
            self._report.content(self._opening)
            self._state = self._free
        return True

    def _arguments(self, final: bool) -> bool:
        """Arguments that are reported as they come."""
        reached = self._json.scan(self._text, until_depth=1)
        self._report.arguments(self._take(self._json.place))
        self._json.place = 0
        if reached == "end":
            self._report.closed()
            self._state = self._rest
        elif reached == "broken" or final:
            self._report.closed(complete=False)
            self._state = self._after
        return reached is not None or final

    def _rest(self, final: bool) -> bool:
        """What follows the arguments inside the call's JSON, of no meaning."""
        reached = self._json.scan(self._text)
        self._take(self._json.place)
        self._json.place = 0
        if reached is None and not final:
            return False
        self._state = self._after
        return True

    def _after(self, final: bool) -> bool:
        """The end of a call: its closing marker, if there is one."""
        marker = self._text.lstrip(_BLANKS)
        if not final and len(marker) < len(_CLOSE) and _CLOSE.startswith(marker):
            return False
        if marker.startswith(_CLOSE):
            self._text = marker.removeprefix(_CLOSE)
        elif not marker:
            self._text = ""
        self._state = self._free
        return True


class _Scan:
    """Where a JSON object ends, found without reading any character twice."""

    def __init__(self) -> None:
        self.place = 0
        self._depth = 0
        self._in_string = self._escaped = self._passed_arguments = False

    def scan(self, text: str, *, until_depth: int = 0, until_arguments: bool = False) -> str | None:
        """Read on from `place`.

        Returns:
            `end` after the bracket that leads back to `until_depth`; `arguments` before the first
            brace inside the first, if asked; `broken` before a character that no JSON object has
            there; `None` where the text ends first.
        """
        while self.place < len(text):
            char = text[self.place]
            if self._in_string:
                if char < " ":
                    return "broken"
                self._read_in_string(char)
            elif not self._may_stand(char):
                return "broken"
            elif until_arguments and char == "{" and self._may_be_arguments():
                self._passed_arguments = True
                return "arguments"
            else:
                self._read(char)
            self.place += 1
            if self._depth == until_depth and char in "}]" and not self._in_string:
                return "end"
        return None

    def _may_be_arguments(self) -> bool:
        return self._depth == 1 and not self._passed_arguments

    def _may_stand(self, char: str) -> bool:
        if self._depth == 0:
            return char == "{" or char in _BLANKS
        return char != "<"  # outside a string it can only be a marker's

    def _read(self, char: str) -> None:
        if char == '"':
            self._in_string = True
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1

    def _read_in_string(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == "\\":
            self._escaped = True
        elif char == '"':
            self._in_string = False


def _may_call(text: str, names: Collection[str]) -> bool:
    """Whether `text` is, or may become, the JSON of a call of one of these tools."""
    return any(
        _fits(text, ["{", '"name"', ":", json.dumps(name), ",", '"arguments"', ":", "{"])
        for name in names
    )


def _fits(text: str, parts: Sequence[str]) -> bool:
    """Whether `text` consists of these parts, with blanks between them, as far as it goes."""
    for part in parts:
        text = text.lstrip(_BLANKS)
        if not text.startswith(part):
            return part.startswith(text)
        text = text[len(part) :]
    return True


def _read_call(text: str) -> ToolCall | None:
    try:
        call: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    match call:
        case {"name": str(name), "arguments": str(arguments)}:
            return ToolCall(name, arguments)
        case {"name": str(name), "arguments": dict()}:
            return ToolCall(name, _written_arguments(text) or dump_json(call["arguments"]))
        case {"name": str(name), "arguments": arguments}:
            return ToolCall(name, dump_json(arguments))
    return None


def _written_arguments(text: str) -> str | None:
    """The arguments as they are written, where the name comes first and nothing else twice."""
    head = _HEAD.match(text)
    if head is None:
        return None
    json_end = json.JSONDecoder().raw_decode(text, head.end())[1]
    written = text[head.end() : json_end]
    return written if not text[json_end:].strip(_BLANKS + "}") else None

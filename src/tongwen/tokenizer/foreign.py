"""Conversations through a checkpoint's own Jinja template.

The template sees every message with the first characters of control tokens replaced by stand-ins
from a private plane, so that no text of a message can become a control token, whole or put
together by the template.  What it prints is split at control tokens; then the stand-ins turn back
into the characters that they stand for.  Only the tags around reasoning, which models write and
templates look for, are left in assistant turns.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.chat import ChatFormat, check_open_end, stop_ids
from tongwen.tokenizer.messages import Message, dump_json, read_messages, read_tools
from tongwen.tokenizer.runs import Runs
from tongwen.tokenizer.sandbox import Template
from tongwen.tokenizer.special import REASONING

_PRIVATE_PLANE = range(0x100000, 0x10FFFE)
_PROTOCOL = {"role", "content", "name", "tool_calls", "tool_call_id", "id", "type"} | {
    "function",
    "arguments",
    "description",
    "parameters",
}
_TAGS = re.compile(f"({'|'.join(map(re.escape, REASONING))})")


class JinjaChat(ChatFormat):
    """The format that a Jinja template prints.

    The loss covers the content of each assistant turn and the stop token right after it; not what
    the template rewrites (reasoning that it drops) nor tool calls, which it prints in its own way.
    A content is split from what stands before it, as generation meets it; the ids are otherwise
    those of the printed text.

    Args:
        tokenizer: Encodes the runs.
        template: Jinja source.
        variables: What else the template may name, such as `enable_thinking`.

    Raises:
        TokenizerError: The template is too long or does not parse.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: str, variables: Mapping[str, Any] | None = None
    ) -> None:
        self.tokenizer, self.source, self.variables = tokenizer, template, dict(variables or {})
        self.stop_ids = stop_ids(tokenizer)
        self._template = Template(template)
        self._stops = {t: i for t, i in tokenizer.control.items() if i in self.stop_ids}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the vocabulary, the template and its variables."""
        said = [self.tokenizer.digest, self.source, self.variables]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def _write(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> Runs:
        read, tools = read_messages(messages), read_tools(tools)
        seal = _Seal(self.tokenizer, self.source + dump_json([messages, tools]))
        extra = {
            "tools": seal.deep(tools) or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
        }
        pairs = list(zip(messages, read, strict=True))
        plain = self._print(seal, [seal.message(*pair, mark=False) for pair in pairs], extra)
        text = self._print(seal, [seal.message(*pair, mark=True) for pair in pairs], extra)
        if seal.without_marks(text) != seal.without_marks(plain):
            text = plain  # the template looks at content in a way that the marks disturb
        if continue_final_message:
            check_open_end(read)
            text = seal.up_to_last_end(text)
        return self._read_back(text, seal)

    def _print(self, seal: "_Seal", messages: list[dict[str, Any]], extra: dict[str, Any]) -> str:
        num_input_chars = len(dump_json([messages, extra]))
        variables = {**_end_tokens(self.tokenizer), **self.variables, **extra}
        text = self._template.render(num_input_chars, {**variables, "messages": messages})
        if seal.is_escaped_in(text):
            raise TokenizerError("the chat template prints JSON in ASCII, which hides its text")
        return text

    def _read_back(self, text: str, seal: "_Seal") -> Runs:
        """Turn what the template printed into runs."""
        runs = Runs(self.tokenizer)
        pieces = seal.spans.split(text)
        for place, piece in enumerate(pieces):
            if place % 2 == 0:
                self._write_between(runs, piece, seal)
                continue
            runs.cut()
            runs.train(True)
            if piece in seal.sampled:
                self._write_sampled(runs, seal.sampled[piece], pieces[place + 1])
            else:
                seal.write(runs, piece)
        return runs

    def _write_between(self, runs: Runs, text: str, seal: "_Seal") -> None:
        """Write what follows an assistant's content: its stop token is the assistant's too."""
        if runs.trained:
            stop = next((stop for stop in self._stops if text.startswith(stop)), "")
            runs.markup(stop)
            if stop:
                runs.train(False)
            else:
                runs.fade()
            text = text.removeprefix(stop)
        seal.write(runs, text)

    def _write_sampled(self, runs: Runs, token_ids: Sequence[int], after: str) -> None:
        """Write sampled ids; a stop that the template repeats is left to it."""
        stop = next((t for t, i in self._stops.items() if token_ids and i == token_ids[-1]), None)
        repeated = stop is not None and after.startswith(stop)
        runs.ids(token_ids[:-1] if repeated else token_ids)
        runs.train(repeated)


class _Seal:
    """Stand-ins for one conversation: single characters that occur nowhere in it."""

    def __init__(self, tokenizer: Tokenizer, present: str) -> None:
        used = set(present)
        self._fresh: Iterator[str] = (c for c in map(chr, _PRIVATE_PLANE) if c not in used)
        firsts = sorted({token[0] for token in tokenizer.control})
        self._table = {ord(first): next(self._fresh) for first in firsts}
        self._stands_for = {stand_in: chr(first) for first, stand_in in self._table.items()}
        self._begin, self._end = next(self._fresh), next(self._fresh)
        self._marks = re.compile(f"[{self._begin}{self._end}]")
        self._stand_ins = re.compile(f"([{''.join(self._stands_for)}])") if firsts else None
        self.spans = re.compile(f"{self._begin}([^{self._begin}{self._end}]*){self._end}")
        self.sampled: dict[str, tuple[int, ...]] = {}

    def message(self, raw: Mapping[str, Any], read: Message, *, mark: bool) -> dict[str, Any]:
        """The message as the template sees it; `mark` brackets what an assistant says."""
        sealed: dict[str, Any] = {k: self.deep(v) for k, v in raw.items() if k != "token_ids"}
        sealed["role"] = read.role
        if read.token_ids is not None:
            stand_in = next(self._fresh)
            self.sampled[stand_in] = read.token_ids
            sealed["content"] = f"{self._begin}{stand_in}{self._end}"
            sealed.pop("tool_calls", None)
        elif raw.get("content") is not None:
            content = self._text(read.content, keep_tags=read.role == "assistant")
            marked = mark and read.role == "assistant" and content
            sealed["content"] = f"{self._begin}{content}{self._end}" if marked else content
        if read.tool_calls and read.token_ids is None:
            sealed["tool_calls"] = self.deep([_parsed(call) for call in raw["tool_calls"]])
        return sealed

    def deep(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        """A copy with every string sealed, keys too unless they are the protocol's."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {k if k in _PROTOCOL else self.deep(k): self.deep(v) for k, v in value.items()}
        return [self.deep(item) for item in value] if isinstance(value, list | tuple) else value

    def write(self, runs: Runs, text: str) -> None:
        """Write printed text: stand-ins as plain text, all else as markup."""
        text = self._marks.sub("", text)
        for piece in self._stand_ins.split(text) if self._stand_ins else [text]:
            if piece in self._stands_for:
                runs.plain(self._stands_for[piece])
            else:
                runs.markup(piece)

    def without_marks(self, text: str) -> str:
        """The text less all marks, sampled turns' stand-ins made alike."""
        for stand_in in self.sampled:
            text = text.replace(stand_in, self._begin)
        return self._marks.sub("", text)

    def up_to_last_end(self, text: str) -> str:
        """The text up to where the last assistant message ends.

        Raises:
            TokenizerError: The template did not print that message as it is.
        """
        end = text.rfind(self._end)
        if end < 0:
            raise TokenizerError("the chat template rewrites the final message; it cannot continue")
        return text[: end + 1]

    def is_escaped_in(self, text: str) -> bool:
        """Whether a stand-in was printed as an ASCII escape, and so cannot be turned back."""
        return any(json.dumps(stand_in)[1:-1] in text for stand_in in self._stands_for)

    def _text(self, text: str, *, keep_tags: bool = False) -> str:
        if not keep_tags:
            return text.translate(self._table)
        pieces = _TAGS.split(text)
        return "".join(
            piece if place % 2 else piece.translate(self._table)
            for place, piece in enumerate(pieces)
        )


def _parsed(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its arguments as the object that templates print, if they are one."""
    function = call.get("function", call)
    arguments = function["arguments"]
    try:
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError as error:
        raise TokenizerError(
            f"arguments of the call of `{function['name']}` are no JSON: {error}"
        ) from error
    inner = {**function, "arguments": arguments}
    return {**call, "function": inner} if "function" in call else inner


def _end_tokens(tokenizer: Tokenizer) -> dict[str, str]:
    """`bos_token` and the like, as far as the vocabulary names them."""
    ends = tokenizer.ends
    ids = {"bos_token": ends.bos_token_id, "eos_token": ends.eos_token_id}
    ids["pad_token"] = ends.pad_token_id
    return {name: tokenizer.decode([i]) for name, i in ids.items() if i is not None}

"""Conversations to token ids and a loss mask: the formats of the Qwen2 families.

A turn is `<|im_start|>role`, a newline, its text, `<|im_end|>` and a newline.  The text between two
control tokens is one run, encoded with control tokens disabled; an assistant turn is split after
`assistant` and its newline, where generation begins.  The ids equal those of the published Jinja
templates unless an assistant turn begins with a newline (or blanks and a newline), or a message
contains a control token, which here stays the text that it is.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.messages import Message, read_messages, read_tools
from tongwen.tokenizer.runs import Rendered, Runs
from tongwen.tokenizer.tools import RESULT, RETURN, ToolForm
from tongwen.tokenizer.turns import Turn, hermes_turns, qwen2_turns

__all__ = ["FAMILIES", "ChatFormat", "ChatML", "Family", "Rendered", "check_open_end", "stop_ids"]


class ChatFormat(ABC):
    """How one model reads a conversation.

    Attributes:
        tokenizer: Encodes the runs.
        stop_ids: Ids of which any ends a completion.
        stop_strings: Strings of which any ends a completion, for tools that no control token ends.
        default_system: System text of a conversation that has none, `None` if nothing is put there.
        tool_form: How the model writes tool calls, for `tool_stream`; `None` if unknown.
    """

    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    stop_strings: tuple[str, ...] = ()
    default_system: str | None = None
    tool_form: ToolForm | None = None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> Rendered:
        """Token ids of a conversation, and which of them the assistant wrote.

        Args:
            messages: As OpenAI's.  An assistant message may carry `token_ids`, sampled earlier:
                they are kept as they are, its end too if it is among them.
            tools: As OpenAI's.
            add_generation_prompt: End with the opening of an assistant turn.
            continue_final_message: Leave the last message, an assistant's, open to be continued;
                no generation prompt is added then.

        Raises:
            TokenizerError: The conversation is malformed, or beyond what the format can say.
        """
        return self._write(messages, tools, add_generation_prompt, continue_final_message).finish()

    def text(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> str:
        """The text of a conversation, equal to what the family's Jinja template prints.

        Raises:
            TokenizerError: As for `render`.
        """
        return self._write(messages, tools, add_generation_prompt, continue_final_message).text

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 over all that the ids of a conversation depend on."""

    @abstractmethod
    def _write(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> Runs: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What tells the chat formats of Qwen2's families apart."""

    name: str
    """As in the names of the models."""

    default_system: str | None
    """System text of a conversation that has none; `None` if nothing is put there."""

    tool_form: ToolForm | None
    """How tools are defined and called; `None` if the models were not trained on any."""

    parallel_calls: bool = False
    """Whether Qwen2's own tool rules ask for several calls at once; Qwen2.5's always allow it."""


_HELPFUL = "You are a helpful assistant."
_QWEN = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_BOXED = "Please reason step by step, and put your final answer within \\boxed{}."

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(name="qwen2.5", default_system=_QWEN, tool_form="hermes"),
        Family(name="qwen2.5-coder", default_system=_QWEN, tool_form="hermes"),
        Family(name="qwen2.5-math", default_system=_BOXED, tool_form="hermes"),
        Family(name="qwen2", default_system=_HELPFUL, tool_form="qwen2"),
        Family(name="qwen1.5", default_system=None, tool_form=None),
    )
}
"""The families with a native format; any other template goes through `template.py`."""


class ChatML(ChatFormat):
    """The native format of a family.

    Args:
        tokenizer: Encodes the runs.
        family: One of `FAMILIES`, or one like them with another system text.

    Raises:
        TokenizerError: The vocabulary lacks `<|im_start|>` or `<|im_end|>`.
    """

    def __init__(self, tokenizer: Tokenizer, family: Family) -> None:
        control = tokenizer.control
        for token in ("<|im_start|>", "<|im_end|>"):
            if token not in control:
                raise TokenizerError(f"`{token}` is no control token of this vocabulary")
        self.tokenizer, self.family = tokenizer, family
        self.default_system, self.tool_form = family.default_system, family.tool_form
        self.stop_strings = (RESULT, RETURN) if family.tool_form == "qwen2" else ()
        self.stop_ids = stop_ids(tokenizer)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the vocabulary and the family."""
        said = [self.tokenizer.digest, asdict(self.family)]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def _write(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        continue_final_message: bool,
    ) -> Runs:
        read = read_messages(messages)
        turns = self._turns(read, read_tools(tools))
        if continue_final_message:
            check_open_end(read)
            turns[-1].is_open = True
        elif add_generation_prompt and not turns[-1].is_open:
            turns.append(Turn("assistant", is_open=True))
        runs = Runs(self.tokenizer)
        for turn in turns:
            self._write_turn(runs, turn)
        return runs

    def _turns(self, messages: list[Message], tools: list[Mapping[str, Any]]) -> list[Turn]:
        family = self.family
        if family.tool_form == "qwen2":
            return qwen2_turns(
                messages,
                tools,
                family.default_system,
                parallel=family.parallel_calls,
                decode=self.tokenizer.decode,
            )
        used = tools or any(message.tool_calls for message in messages)
        if family.tool_form is None and used:
            raise TokenizerError(f"`{family.name}` models were not trained to call tools")
        return hermes_turns(messages, tools, family.default_system)

    def _write_turn(self, runs: Runs, turn: Turn) -> None:
        is_assistant = turn.role == "assistant"
        runs.markup(f"<|im_start|>{turn.role}\n")
        if is_assistant:
            runs.cut()
        for part in turn.parts:
            runs.train(part.trained)
            if part.token_ids is not None:
                runs.ids(part.token_ids)
            elif part.is_markup:
                runs.markup(part.text)
            else:
                runs.plain(part.text)
        sampled = turn.parts[-1].token_ids if turn.parts else None
        if turn.is_open:
            return
        if not sampled or sampled[-1] not in self.stop_ids:
            # An end that was not sampled, where ids were, is not the model's own.
            runs.train(is_assistant and sampled is None)
            runs.markup("<|im_end|>")
        runs.train(False)
        runs.markup("\n")


def stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids that end a completion: of a turn, of a document, and what the vocabulary's files name."""
    known = [tokenizer.control.get(token) for token in ("<|im_end|>", "<|endoftext|>")]
    ends = [*known, tokenizer.ends.eos_token_id]
    return tuple(dict.fromkeys(end for end in ends if end is not None))


def check_open_end(messages: Sequence[Message]) -> None:
    """Refuse a conversation whose last message is none that can be continued.

    Raises:
        TokenizerError: It is not an assistant's, or it calls tools.
    """
    if messages[-1].role != "assistant" or messages[-1].tool_calls:
        raise TokenizerError("the final message to continue must be an assistant's, with no call")

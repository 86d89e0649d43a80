"""A model in memory, behind an engine's thread, as the dialects use it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from tongwen.checkpoint.derived import Derived
from tongwen.engine.completion import Pooling
from tongwen.engine.params import SamplingParams
from tongwen.errors import ContextError
from tongwen.server.backend import Engine, Model
from tongwen.server.config import DerivedEntry, ModelEntry
from tongwen.server.ollama.options import options_of
from tongwen.tokenizer.tool_events import ContentDelta, ToolEvent
from tongwen.tokenizer.tool_stream import tool_stream
from tongwen.tokenizer.tools import ToolForm

Result = TypeVar("Result")

_LONG = 20_000  # characters: what takes longer than 5 ms to encode is not done in the event loop


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What a caller wants of a model, in whatever dialect it was said."""

    prompt_ids: list[int]
    """The prompt."""

    params: SamplingParams
    """How its completions are chosen and when they end."""

    pooling: Pooling | None = None
    """One vector is made of the prompt's hidden states."""

    call_names: tuple[str, ...] | None = None
    """The tools whose calls are read from the text; `None`: the text is what it is."""

    has_defaults: bool = False
    """Whether the defaults of a derived model are in `params` already."""


async def off_loop(work: Callable[[], Result], size: int) -> Result:
    """Do work on a text of so many characters: beside the event loop, where it is long."""
    return await asyncio.to_thread(work) if size > _LONG else work()


class CallReader:
    """Reads one completion's text as content and calls.

    Args:
        form: How the model writes calls; `None`: all text is content.
        names: Of the tools.
    """

    def __init__(self, form: ToolForm | None, names: Sequence[str]) -> None:
        stream = form and tool_stream(form, constrained=True, names=names)
        self._stream = stream or None

    def read(self, text: str, *, is_last: bool) -> list[ToolEvent]:
        """What a piece of text makes certain."""
        if self._stream is None:
            return [ContentDelta(text)] if text else []
        events = self._stream.push(text)
        return events + self._stream.finish() if is_last else events


@dataclass(eq=False)
class Served:
    """One model of a server."""

    entry: ModelEntry
    llm: Model
    engine: Engine
    num_users: int = 0
    """Requests that use it now."""

    is_leaving: bool = False
    """Whether it goes as soon as nobody uses it."""

    until: float = 0.0
    """When it may go, on the clock of `time.monotonic`; infinite: never."""

    @property
    def name(self) -> str:
        """What answers call it."""
        return self.entry.names[0]

    @property
    def derived(self) -> Derived | None:
        """What is added to the weights, where it is a derived model."""
        return self.entry.derived if isinstance(self.entry, DerivedEntry) else None

    def under(self, entry: ModelEntry) -> "Served":
        """The same weights and engine as another model of the server."""
        return self if entry == self.entry else Served(entry, self.llm, self.engine)

    def ask_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        params: SamplingParams,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str = "auto",
        parallel_tool_calls: bool = True,
        continues: bool = False,
    ) -> Ask:
        """What a conversation asks.

        Args:
            messages: As OpenAI's.
            params: How to sample.
            tools: As OpenAI's.
            tool_choice: `auto`, `required`, `none`, or the name of the one that must be called.
            parallel_tool_calls: Whether an answer may hold more than one call.
            continues: Whether the last message, the assistant's, is gone on with.

        Raises:
            TokenizerError: It is malformed.
            RequestError: The parameters contradict the tools.
        """
        rendered = self.llm.chat_format.render(
            self.conversation(messages),
            tools=tools or None,
            add_generation_prompt=not continues,
            continue_final_message=continues,
        )
        prompt_ids = rendered.token_ids
        if not tools:
            return Ask(prompt_ids=prompt_ids, params=params)
        params = self.llm.calling(params, tools, tool_choice, parallel_tool_calls)
        if tool_choice == "none":  # what looks like a call is text
            return Ask(prompt_ids=prompt_ids, params=params)
        names = tuple(tool["function"]["name"] for tool in tools)
        return Ask(prompt_ids=prompt_ids, params=params, call_names=names)

    def conversation(self, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Messages after those that a derived model begins with; their system text wins."""
        derived = self.derived
        if derived is None:
            return list(messages)
        is_told = bool(messages) and messages[0].get("role") == "system"
        system = list(messages[:1]) if is_told else []
        if derived.system is not None and not is_told:
            system = [{"role": "system", "content": derived.system}]
        return [*system, *derived.messages, *(messages[1:] if is_told else messages)]

    def with_defaults(self, ask: Ask) -> Ask:
        """The ask with a derived model's parameters, where the caller has said nothing.

        A value that equals the neutral one, such as a penalty of 0, counts as nothing said.

        Raises:
            ContextError: It does not fit the model's `num_ctx`.
        """
        if self.derived is None or ask.has_defaults:
            return ask
        options, neutral = options_of(self.derived.parameters), SamplingParams()
        unsaid = {
            name: value
            for name, value in options.sampling().items()
            if getattr(ask.params, name) == getattr(neutral, name)
        }
        told = replace(ask, params=replace(ask.params, **unsaid), has_defaults=True)
        return told if options.num_ctx is None else self.within(told, options.num_ctx)

    def within(self, ask: Ask, num_ctx: int | None) -> Ask:
        """The ask with at most so many tokens of prompt and completion.

        Raises:
            ContextError: The prompt alone has more, or `num_ctx` is more than the model has.
        """
        context, length = self.llm.context, len(ask.prompt_ids)
        if num_ctx is not None and num_ctx > context:
            raise ContextError(
                f"`num_ctx` is {num_ctx}, but the context of `{self.name}` has {context} tokens"
            )
        room = (num_ctx or context) - length
        asked = ask.params.max_tokens
        if room < 1 and asked != 0:
            raise ContextError(
                f"a prompt of {length} tokens does not fit the context of {num_ctx or context}, "
                "with 1 to be written",
                hint="shorten it, or raise `num_ctx`",
            )
        most = room if asked is None else min(asked, room)
        return replace(ask, params=replace(ask.params, max_tokens=most))

    def reader(self, ask: Ask) -> CallReader:
        """What reads one of the completions."""
        if ask.call_names is None:
            return CallReader(None, ())
        return CallReader(self.llm.chat_format.tool_form, ask.call_names)

    def check_length(self, ask: Ask, most: int | None) -> None:
        """Refuse a prompt that is longer than the server allows.

        Raises:
            ContextError: With the numbers.
        """
        if most is not None and len(ask.prompt_ids) > most:
            raise ContextError(
                f"a prompt of {len(ask.prompt_ids)} tokens; this server takes at most {most}"
            )

    def close(self) -> None:
        """End its requests and its thread; its memory goes with the last who holds it."""
        self.engine.close()

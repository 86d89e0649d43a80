"""`POST /v1/chat/completions`."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from tongwen.engine.params import SamplingParams
from tongwen.server.errors import api_error, invalid, unsupported
from tongwen.server.openai.errors import openai_error
from tongwen.server.openai.logprobs import chat_logprobs, prompt_logprobs
from tongwen.server.openai.sampling import SamplingWire
from tongwen.server.openai.usage import finish_of, head_of, usage, usage_of
from tongwen.server.served import Ask, Served
from tongwen.server.service import (
    Answer,
    Manner,
    Opened,
    Piece,
    Service,
    caller_of,
    service_of,
)
from tongwen.server.sse import DONE, HeldStream, event, unless_gone
from tongwen.server.wire import JsonRoute, Wire
from tongwen.tokenizer.tool_events import (
    ArgumentsDelta,
    CallClosed,
    CallOpened,
    ContentDelta,
    ToolEvent,
)

router = APIRouter(route_class=JsonRoute, tags=["OpenAI"])


class NamedFunction(Wire):
    """The function that must be called."""

    name: str


class NamedTool(Wire):
    """The tool that must be called; huggingface_hub's client leaves the type out."""

    type: Literal["function"] = "function"
    function: NamedFunction


class ChatRequest(SamplingWire):
    """A conversation to be answered."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    unserved: ClassVar[Mapping[str, str]] = {
        "functions": "give `tools`",
        "function_call": "give `tool_choice`",
        "audio": "this is a model of text",
        "prediction": "guesses are made from the text itself",
        "web_search_options": "the server reaches no web",
        "reasoning_effort": "Qwen2 models answer without a hidden train of thought",
        "verbosity": "say it in the system text",
        "use_beam_search": "ask for `n` completions",
        "chat_template": "templates are the model's own",
        "chat_template_kwargs": "templates are the model's own",
        "documents": "put them into a message",
        "best_of": "`/v1/completions` has it",
        "echo": "`/v1/completions` has it",
    }
    idle: ClassVar[frozenset[str]] = SamplingWire.idle | {"store", "service_tier"}

    @property
    def length(self) -> int:
        """About how many characters the conversation has."""
        return len(str(self.messages)) + len(str(self.tools or ""))

    def ask(self, served: Served) -> Ask:
        """What is asked of the model.

        Raises:
            TokenizerError: The conversation is malformed.
            RequestError: The parameters are, or contradict each other.
        """
        continues = bool(self.continue_final_message)
        if continues and self.add_generation_prompt:
            raise invalid(
                "continue_final_message",
                "`continue_final_message` and `add_generation_prompt` exclude each other",
            )
        if self.add_generation_prompt is False and not continues:
            raise unsupported("add_generation_prompt", "an answer begins a turn of its own")
        return served.ask_chat(
            [_as_system(message) for message in self.messages],
            self._params(),
            tools=self.tools or (),
            tool_choice=self._choice(),
            parallel_tool_calls=self.parallel_tool_calls is not False,
            continues=continues,
        )

    def _choice(self) -> str:
        if isinstance(self.tool_choice, NamedTool) and not self.tools:
            raise invalid("tool_choice", "`tool_choice` names a tool, but there are no `tools`")
        if isinstance(self.tool_choice, NamedTool):
            return self.tool_choice.function.name
        if self.tool_choice == "required" and not self.tools:
            raise invalid("tool_choice", "`tool_choice` is `required`, but there are no `tools`")
        return self.tool_choice or "auto"

    def _params(self) -> SamplingParams:
        if self.top_logprobs is not None and not self.logprobs:
            raise invalid("top_logprobs", "`top_logprobs` needs `logprobs`: true")
        wanted = self.max_completion_tokens
        return self.sampling(
            max_tokens=self.max_tokens if wanted is None else wanted,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
        )


def _as_system(message: dict[str, Any]) -> dict[str, Any]:
    """A message in which OpenAI's newer word for `system` is the word that formats know."""
    return {**message, "role": "system"} if message.get("role") == "developer" else message


@router.post("/v1/chat/completions")
async def create_chat_completion(request: Request, body: ChatRequest) -> Response:
    """Answer a conversation."""
    service = service_of(request)
    manner = Manner(caller_of(request), body.priority or 0, body.cache_salt)
    if body.stream:
        opened = await unless_gone(request, service.open(body, manner))
        return HeldStream(chat_events(opened, body), opened.held)
    return JSONResponse(await unless_gone(request, complete_chat(service, manner, body)))


async def complete_chat(service: Service, manner: Manner, body: ChatRequest) -> dict[str, Any]:
    """The whole answer to a conversation.

    Raises:
        TongwenError: It cannot be given.
    """
    done = await service.complete(body, manner)
    shown = done.completions[0]
    facts = {
        "prompt_logprobs": prompt_logprobs(done.served.llm.tokenizer, shown),
        "prompt_token_ids": shown.prompt_token_ids if body.return_token_ids else None,
    }
    return {
        **head_of("chat.completion", "chatcmpl", done.served.name),
        "choices": [_choice(done.served, body, *each) for each in enumerate(done.answers)],
        "usage": usage(done.completions),
        "system_fingerprint": done.served.llm.numerics,
        **{name: fact for name, fact in facts.items() if fact is not None},
    }


def _choice(served: Served, body: ChatRequest, index: int, answer: Answer) -> dict[str, Any]:
    done = answer.completion
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text if answer.text or not answer.calls else None,
        "refusal": None,
    }
    if answer.calls:
        calls = [{"id": new_call_id(), **call.as_message()} for call in answer.calls]
        message["tool_calls"] = calls
    choice = {
        "index": index,
        "message": message,
        "logprobs": _logprobs(served, body, done.token_ids, done.logprobs, done.top_logprobs),
        **finish_of(done, calls=bool(answer.calls)),
    }
    return {**choice, "token_ids": done.token_ids} if body.return_token_ids else choice


def _logprobs(
    served: Served,
    body: ChatRequest,
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    tops: Sequence[Mapping[int, float]] | None,
) -> dict[str, Any] | None:
    if not body.logprobs:
        return None
    count = body.top_logprobs or 0
    return chat_logprobs(served.llm.tokenizer, token_ids, logprobs, tops, count)


def new_call_id() -> str:
    """An id for a tool call."""
    return f"call_{secrets.token_hex(12)}"


# ---- streamed


async def chat_events(opened: Opened, body: ChatRequest) -> AsyncIterator[bytes]:
    """The events of a streamed answer; an error on the way is the last of them."""
    chunks = _Chunks(opened, body)
    try:
        async for batch in opened.batches:
            if data := b"".join(chunks.of(piece) for piece in batch):
                yield data
    except Exception as error:
        yield event(openai_error(api_error(error)))
        return
    yield chunks.end() + DONE


class _Chunks:
    """Writes the chunks of one stream.

    Args:
        opened: The answer.
        body: What was asked for.
    """

    def __init__(self, opened: Opened, body: ChatRequest) -> None:
        self._served, self._body = opened.served, body
        self._head = head_of("chat.completion.chunk", "chatcmpl", opened.served.name)
        self._prompt_tokens, self._written, self._cached = len(opened.ask.prompt_ids), 0, 0
        self._begun: set[int] = set()
        self._calling: set[int] = set()
        options = body.stream_options
        self._always = options is not None and options.continuous_usage_stats
        self._usage = options is not None and options.include_usage

    def of(self, piece: Piece) -> bytes:
        """The chunks of a piece; none where it makes nothing certain."""
        delta, said = piece.delta, b""
        self._written += delta.token_id is not None
        if delta.index not in self._begun:
            self._begun.add(delta.index)
            said += self._chunk(delta.index, {"role": "assistant", "content": ""})
        facts = self._facts(piece)
        parts = [part for found in piece.events if (part := self._part(delta.index, found))]
        for part in parts or ([{}] if facts else []):
            said += self._chunk(delta.index, part, facts)
            facts = {}  # once for each token
        if delta.completion is not None:
            self._cached = delta.completion.num_cached_tokens
            calls = delta.index in self._calling
            said += self._chunk(delta.index, {}, finish_of(delta.completion, calls=calls))
        return said

    def end(self) -> bytes:
        """The chunk with the usage, where it was asked for."""
        if not self._usage:
            return b""
        return event({**self._head, "choices": [], "usage": self._tokens()})

    def _facts(self, piece: Piece) -> dict[str, Any]:
        """What is said of the token besides its text."""
        delta, body, facts = piece.delta, self._body, dict[str, Any]()
        if delta.token_id is None:
            return facts
        if body.logprobs and delta.logprob is not None:
            tops = None if delta.top_logprobs is None else [delta.top_logprobs]
            facts["logprobs"] = _logprobs(
                self._served, body, [delta.token_id], [delta.logprob], tops
            )
        if body.return_token_ids:
            facts["token_ids"] = [delta.token_id]
        return facts

    def _part(self, choice: int, found: ToolEvent) -> dict[str, Any] | None:
        """What an event is as the `delta` of a chunk."""
        match found:
            case ContentDelta(text):
                return {"content": text}
            case CallOpened(index, name):
                self._calling.add(choice)
                function = {"name": name, "arguments": ""}
                call = {"index": index, "id": new_call_id(), "type": "function"}
                return {"tool_calls": [{**call, "function": function}]}
            case ArgumentsDelta(index, text):
                return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
            case CallClosed():
                return None

    def _chunk(
        self, index: int, delta: dict[str, Any], facts: Mapping[str, Any] | None = None
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        chunk = {**self._head, "choices": [{**choice, **(facts or {})}]}
        return event({**chunk, "usage": self._tokens()} if self._always else chunk)

    def _tokens(self) -> dict[str, Any]:
        return usage_of(self._prompt_tokens, self._written, self._cached)

"""`POST /v1/responses`, without a memory: what was said before is sent again."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field

from tongwen.engine.constraint import Constraint, JsonObject, JsonSchema
from tongwen.engine.params import SamplingParams
from tongwen.server.errors import invalid
from tongwen.server.openai.response_events import ResponseWriter, response_events
from tongwen.server.openai.response_items import Item, chat_messages, read_input
from tongwen.server.openai.sampling import Number, SchemaFormat
from tongwen.server.served import Ask, Served
from tongwen.server.service import Manner, Service, caller_of, service_of
from tongwen.server.sse import HeldStream, unless_gone
from tongwen.server.wire import JsonRoute, Wire

router = APIRouter(route_class=JsonRoute, tags=["OpenAI"])


class FunctionTool(Wire):
    """A function that the model may call."""

    type: Literal["function"]
    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    unserved: ClassVar[Mapping[str, str]] = {
        "allowed_callers": "calls are the model's own",
        "defer_loading": "all tools are shown to the model",
        "output_schema": "say it in the `description`",
    }

    def as_function(self) -> dict[str, Any]:
        """The tool as `/v1/chat/completions` has it."""
        given = {"description": self.description, "parameters": self.parameters}
        known = {name: value for name, value in given.items() if value is not None}
        return {"type": "function", "function": {"name": self.name, **known}}


class NamedTool(Wire):
    """The function that must be called."""

    type: Literal["function"]
    name: str


class PlainFormat(Wire):
    """Any text, or any JSON object."""

    type: Literal["text", "json_object"]


class JsonSchemaFormat(SchemaFormat):
    """JSON after a schema."""

    type: Literal["json_schema"]


class TextConfig(Wire):
    """What form an answer must have."""

    format: Annotated[PlainFormat | JsonSchemaFormat, Field(discriminator="type")] = PlainFormat(
        type="text"
    )

    unserved: ClassVar[Mapping[str, str]] = {"verbosity": "say it in the `instructions`"}

    def constraint(self) -> Constraint | None:
        """The form, for the engine."""
        match self.format:
            case JsonSchemaFormat() as given:
                return JsonSchema(given.schema_)
            case PlainFormat(type="json_object"):
                return JsonObject()
        return None


class ResponseStreamOptions(Wire):
    """What a stream says besides its text."""

    include_obfuscation: bool | None = None
    """Accepted and without effect: nothing is added to events."""


class ResponsesRequest(Wire):
    """A conversation to be answered."""

    model: str
    input: Annotated[list[Item], BeforeValidator(read_input), Field(min_length=1)]
    instructions: str | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig = Field(default_factory=TextConfig)
    max_output_tokens: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_logprobs: int | None = None
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] | None = (
        None
    )
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None
    background: Literal[False] | None = None
    stream: bool | None = False
    stream_options: ResponseStreamOptions | None = None
    top_k: int | None = None
    min_p: Number | None = None
    repetition_penalty: Number | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    priority: int | None = None
    cache_salt: str | None = None

    unserved: ClassVar[Mapping[str, str]] = {
        "access_programs": "there are none",
        "background_options": "nothing is done in the background; `/v1/batches` is",
        "context_management": "a conversation is read as it stands",
        "conversation": "the server keeps no conversations; send the items",
        "image": "this is a model of text",
        "max_tool_calls": "the server runs no tools",
        "moderation": "nothing is judged",
        "previous_response_id": "the server keeps no answers; send the items",
        "prompt": "the server keeps no prompts",
        "prompt_cache_options": "prefixes are always cached",
        "reasoning": "Qwen2 models answer without a hidden train of thought",
    }
    idle: ClassVar[frozenset[str]] = frozenset(
        {"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier"}
    )

    @property
    def length(self) -> int:
        """About how many characters the conversation has."""
        return len(str(self.input)) + len(str(self.tools)) + len(self.instructions or "")

    @property
    def num_logprobs(self) -> int | None:
        """How many log-probabilities are wanted beside each token's own; `None`: none at all."""
        if self.top_logprobs is None and "message.output_text.logprobs" not in (self.include or ()):
            return None
        return self.top_logprobs or 0

    def ask(self, served: Served) -> Ask:
        """What is asked of the model.

        Raises:
            TokenizerError: The conversation is malformed.
            RequestError: The parameters are, or contradict each other.
        """
        return served.ask_chat(
            chat_messages(self.instructions, self.input),
            self._params(),
            tools=[tool.as_function() for tool in self.tools or ()],
            tool_choice=self._choice(),
            parallel_tool_calls=self.parallel_tool_calls is not False,
        )

    def echo(self) -> dict[str, Any]:
        """What an answer repeats of what was asked."""
        given = self.model_dump(include=set(_ECHOED), by_alias=True)
        return {
            **given,
            "text": {"format": self.text.format.model_dump(by_alias=True)},
            "metadata": self.metadata or {},
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "tool_choice": given["tool_choice"] or "auto",
            "tools": given["tools"] or [],
            "top_logprobs": self.top_logprobs or 0,
            "background": False,
            "max_tool_calls": None,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": False,
            "truncation": "disabled",
        }

    def _choice(self) -> str:
        if isinstance(self.tool_choice, NamedTool) and not self.tools:
            raise invalid("tool_choice", "`tool_choice` names a tool, but there are no `tools`")
        if isinstance(self.tool_choice, NamedTool):
            return self.tool_choice.name
        if self.tool_choice == "required" and not self.tools:
            raise invalid("tool_choice", "`tool_choice` is `required`, but there are no `tools`")
        return self.tool_choice or "auto"

    def _params(self) -> SamplingParams:
        if self.stream_options is not None and not self.stream:
            raise invalid("stream_options", "`stream_options` goes with `stream`: true")
        given: dict[str, Any] = {
            "max_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": self.seed,
            "stop": self.stop,
            "logprobs": self.num_logprobs,
            "constraint": self.text.constraint(),
        }
        return SamplingParams(**{name: value for name, value in given.items() if value is not None})


_ECHOED = frozenset(
    {"instructions", "max_output_tokens", "temperature", "top_p", "tools", "tool_choice"}
)


@router.post("/v1/responses")
async def create_response(request: Request, body: ResponsesRequest) -> Response:
    """Answer a conversation."""
    service = service_of(request)
    manner = Manner(caller_of(request), body.priority or 0, body.cache_salt)
    if body.stream:
        opened = await unless_gone(request, service.open(body, manner))
        events = response_events(opened, body.echo(), body.num_logprobs)
        return HeldStream(events, opened.held)
    return JSONResponse(await unless_gone(request, complete_response(service, manner, body)))


async def complete_response(
    service: Service, manner: Manner, body: ResponsesRequest
) -> dict[str, Any]:
    """The whole answer to a conversation: what the last event of a stream holds.

    Raises:
        TongwenError: It cannot be given.
    """
    opened = await service.open(body, manner)
    writer = ResponseWriter(opened, body.echo(), body.num_logprobs)
    async with opened.held:
        async for batch in opened.batches:
            for piece in batch:
                writer.of(piece)
    return writer.response

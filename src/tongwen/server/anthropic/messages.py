"""`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import pydantic_core
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from tongwen.engine.constraint import JsonSchema
from tongwen.engine.params import SamplingParams
from tongwen.server.anthropic.conversation import InputMessage, Texts, chat_messages
from tongwen.server.anthropic.events import message_events
from tongwen.server.anthropic.parts import message_of, new_id, stop_of, usage_of
from tongwen.server.errors import invalid, unsupported
from tongwen.server.openai.sampling import Number
from tongwen.server.served import Ask, Served, off_loop
from tongwen.server.service import Answer, Manner, Service, caller_of, service_of
from tongwen.server.sse import HeldStream, unless_gone
from tongwen.server.wire import JsonRoute, Wire
from tongwen.tokenizer.messages import ToolCall

router = APIRouter(route_class=JsonRoute, tags=["Anthropic"])


class Tool(Wire):
    """A function that the model may call."""

    type: Literal["custom"] | None = None
    name: str = Field(min_length=1)
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None

    unserved: ClassVar[Mapping[str, str]] = {
        "allowed_callers": "calls are the model's own",
        "defer_loading": "all tools are shown to the model",
        "input_examples": "put them into the `description`",
    }
    idle: ClassVar[frozenset[str]] = frozenset({"cache_control", "eager_input_streaming"})

    def as_function(self) -> dict[str, Any]:
        """The tool as OpenAI has it."""
        function = {"name": self.name, "parameters": self.input_schema}
        if self.description is not None:
            function["description"] = self.description
        return {"type": "function", "function": function}


class Choice(Wire):
    """Whether tools are called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False

    def as_choice(self) -> str:
        """The choice as `Served.ask_chat` takes it.

        Raises:
            ApiError: The tool is not named.
        """
        if self.type != "tool":
            return "required" if self.type == "any" else self.type
        if self.name is None:
            raise invalid("tool_choice.name", "`tool_choice.name` is missing")
        return self.name


class OutputFormat(Wire):
    """The form that an answer must have."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Wire):
    """How an answer is to be."""

    format: OutputFormat | None = None

    unserved: ClassVar[Mapping[str, str]] = {"effort": "say it in the system text"}


class Thinking(Wire):
    """Whether there is a train of thought: anything but `disabled` is refused."""

    type: str

    idle: ClassVar[frozenset[str]] = frozenset({"budget_tokens", "display"})


class CountRequest(Wire):
    """A conversation whose tokens are counted."""

    model: str
    messages: list[InputMessage] = Field(min_length=1)
    system: Texts = Field(default_factory=list)
    tools: list[Tool] = Field(default_factory=list)
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None

    unserved: ClassVar[Mapping[str, str]] = {
        "container": "there are no containers",
        "context_management": "a conversation is read as it stands",
        "diagnostics": "figures are at `/metrics`",
        "inference_geo": "the answer is made on this machine",
        "mcp_servers": "the server runs no tools",
        "speed": "there is one speed",
        "user_profile_id": "there are no profiles",
        "workspace_id": "there are no workspaces",
    }
    idle: ClassVar[frozenset[str]] = frozenset({"cache_control", "metadata", "service_tier"})

    @property
    def length(self) -> int:
        """About how many characters the conversation has."""
        return len(str(self.messages)) + len(str(self.system)) + len(str(self.tools))

    def ask(self, served: Served) -> Ask:
        """What is asked of the model.

        Raises:
            TokenizerError: The conversation is malformed.
            RequestError: The parameters are, or contradict each other.
        """
        if self.thinking is not None and self.thinking.type != "disabled":
            raise unsupported("thinking", "Qwen2 models answer without a hidden train of thought")
        choice = self.tool_choice or Choice(type="auto")
        if choice.type in ("any", "tool") and not self.tools:
            raise invalid(
                "tool_choice", f"`tool_choice` is `{choice.type}`, but there are no tools"
            )
        return served.ask_chat(
            chat_messages(self.system, self.messages),
            self._params(),
            tools=[tool.as_function() for tool in self.tools],
            tool_choice=choice.as_choice(),
            parallel_tool_calls=not choice.disable_parallel_tool_use,
            continues=self.messages[-1].role == "assistant",
        )

    def _params(self) -> SamplingParams:
        return SamplingParams()


class MessagesRequest(CountRequest):
    """A conversation to be answered; an assistant's turn at its end is gone on with."""

    max_tokens: int
    stop_sequences: list[str] = Field(default_factory=list)
    stream: bool = False
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: int | None = None

    def _params(self) -> SamplingParams:
        form = self.output_config and self.output_config.format
        return SamplingParams(
            max_tokens=self.max_tokens,
            stop=self.stop_sequences,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            constraint=JsonSchema(form.schema_) if form else None,
        )


@router.post("/v1/messages")
async def create_message(request: Request, body: MessagesRequest) -> Response:
    """Answer a conversation."""
    service, manner = service_of(request), Manner(caller_of(request))
    if body.stream:
        opened = await unless_gone(request, service.open(body, manner))
        events = message_events(opened, request.scope["request_id"])
        return HeldStream(events, opened.held)
    return JSONResponse(await unless_gone(request, complete_message(service, manner, body)))


@router.post("/v1/messages/count_tokens")
async def count_tokens(request: Request, body: CountRequest) -> dict[str, int]:
    """How many tokens a conversation has."""
    async with service_of(request).lease(body.model) as served:
        ask = await off_loop(lambda: body.ask(served), body.length)
    return {"input_tokens": len(ask.prompt_ids)}


async def complete_message(
    service: Service, manner: Manner, body: MessagesRequest
) -> dict[str, Any]:
    """The whole answer to a conversation.

    Raises:
        TongwenError: It cannot be given.
    """
    done = await service.complete(body, manner)
    answer, prompt = done.answers[0], len(done.ask.prompt_ids)
    completion = answer.completion
    return {
        **message_of(done.served.name, _content(answer)),
        **stop_of(completion, calls=bool(answer.calls)),
        "usage": usage_of(prompt, len(completion.token_ids), completion.num_cached_tokens),
    }


def _content(answer: Answer) -> list[dict[str, Any]]:
    """The blocks of an answer: its text, if there is any, and its calls."""
    said: list[dict[str, Any]] = []
    if answer.text:
        said.append({"type": "text", "text": answer.text, "citations": None})
    return said + [_tool_use(call) for call in answer.calls]


def _tool_use(call: ToolCall) -> dict[str, Any]:
    """A call; of one that was cut short, the arguments that are whole."""
    read = pydantic_core.from_json(call.arguments or "{}", allow_partial="trailing-strings")
    block = {"type": "tool_use", "id": new_id("toolu"), "name": call.name}
    return {**block, "input": read if isinstance(read, dict) else {}}

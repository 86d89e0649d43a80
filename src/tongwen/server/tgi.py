"""The dialect of text-generation-inference: `/generate`, `/generate_stream`, `/info`.

Source of names and defaults: the `TextGenerationInput` types of huggingface_hub.  A prompt is
continued as it is, without a chat format; who sends no model's name means the only one.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator

from tongwen.engine.completion import Completion, ranked
from tongwen.engine.constraint import Constraint, JsonSchema, Regex
from tongwen.engine.params import SamplingParams
from tongwen.server.errors import ApiError, api_error, invalid, unsupported
from tongwen.server.openai.logprobs import LEAST, text_of
from tongwen.server.served import Ask, Served
from tongwen.server.service import Manner, Opened, Piece, Service, caller_of, service_of
from tongwen.server.sse import HeldStream, event, unless_gone
from tongwen.server.wire import JsonRoute, Wire
from tongwen.version import __version__

router = APIRouter(route_class=JsonRoute, tags=["TGI"])

Number = Annotated[float, Field(allow_inf_nan=False)]
_TOKENS = 100
_KINDS = {429: "overloaded", 503: "overloaded"}


class Grammar(Wire):
    """The form that the text must have."""

    type: Literal["json", "regex", "json_schema"]
    value: dict[str, Any] | str

    def constraint(self) -> Constraint:
        """The same, as the engine has it.

        Raises:
            ApiError: The value is of the wrong kind.
        """
        if self.type == "regex" and isinstance(self.value, str):
            return Regex(self.value)
        if self.type == "regex" or isinstance(self.value, str):
            raise invalid("grammar", f"`value` of a grammar of type `{self.type}` is of that kind")
        wrapped = self.value.get("schema") if self.type == "json_schema" else None
        return JsonSchema(wrapped if isinstance(wrapped, dict) else self.value)


class Parameters(Wire):
    """How to continue."""

    best_of: Annotated[int, Field(ge=1)] | None = None
    decoder_input_details: bool | None = None
    details: bool | None = None
    do_sample: bool | None = None
    frequency_penalty: Number | None = None
    grammar: Grammar | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    repetition_penalty: Number | None = None
    return_full_text: bool | None = None
    seed: int | None = None
    stop: list[str] | None = None
    temperature: Number | None = None
    top_k: int | None = None
    top_n_tokens: Annotated[int, Field(ge=0)] | None = None
    top_p: Number | None = None
    truncate: Annotated[int, Field(ge=1)] | None = None
    typical_p: Number | None = None
    watermark: bool | None = None

    unserved: ClassVar[Mapping[str, str]] = {"adapter_id": "no adapters are loaded"}

    @model_validator(mode="after")
    def _served(self) -> "Parameters":
        if self.watermark:
            raise unsupported("watermark", "texts carry no mark")
        if (self.best_of or 1) > 1 and not self.is_sampled:
            raise invalid("best_of", "`best_of` above 1 needs `do_sample`: true")
        return self

    @property
    def is_sampled(self) -> bool:
        """Whether tokens are drawn; else the most probable are taken."""
        warps = (self.temperature, self.top_k, self.top_p, self.typical_p)
        return bool(self.do_sample) or any(warp is not None for warp in warps)

    def sampling(self) -> SamplingParams:
        """The parameters, as the engine has them; what is null is left to its defaults.

        Raises:
            RequestError: A value is out of range.
        """
        given: dict[str, Any] = {
            "best_of": self.best_of,
            "max_tokens": self.max_new_tokens or _TOKENS,
            "temperature": self.temperature if self.is_sampled else 0.0,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "typical_p": self.typical_p,
            "seed": self.seed,
            "stop": self.stop,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
            "constraint": None if self.grammar is None else self.grammar.constraint(),
            "logprobs": self.top_n_tokens or None,
            "prompt_logprobs": 0 if self.decoder_input_details else None,
        }
        return SamplingParams(**{name: value for name, value in given.items() if value is not None})


class GenerateRequest(Wire):
    """A text to be continued."""

    inputs: str
    model: str | None = None
    parameters: Parameters = Field(default_factory=Parameters)
    stream: bool | None = None


@dataclass(frozen=True, slots=True)
class _Text:
    """The wish of a request."""

    model: str
    body: GenerateRequest

    @property
    def length(self) -> int:
        """About how many characters it has."""
        return len(self.body.inputs)

    def ask(self, served: Served) -> Ask:
        """What is asked of the model.

        Raises:
            TongwenError: It cannot be served.
        """
        asked = self.body.parameters
        ids = served.llm.tokenizer.encode(self.body.inputs, allow_control=True)
        if asked.truncate is not None:
            ids = ids[-asked.truncate :]
        return Ask(prompt_ids=ids, params=asked.sampling())


@router.post("/generate")
async def generate(request: Request, body: GenerateRequest) -> Response:
    """Continue a text."""
    if body.stream:
        return await generate_stream(request, body)
    service, wish = service_of(request), _wish(request, body)
    return JSONResponse(await unless_gone(request, _whole(service, wish, request)))


@router.post("/generate_stream")
async def generate_stream(request: Request, body: GenerateRequest) -> Response:
    """Continue a text, token by token."""
    asked = body.parameters
    for name in ("decoder_input_details", "return_full_text"):
        if getattr(asked, name):
            raise invalid(name, f"`{name}` does not go with a stream")
    if (asked.best_of or 1) > 1:
        raise invalid("best_of", "`best_of` chooses when all are written: it cannot be streamed")
    service = service_of(request)
    opened = await unless_gone(
        request, service.open(_wish(request, body), Manner(caller_of(request)))
    )
    return HeldStream(_events(opened, asked), opened.held)


@router.get("/info")
async def info(request: Request) -> dict[str, Any]:
    """The model that is served, and its limits."""
    service = service_of(request)
    entry = service.pool.entry(service.name_or_only(None))
    facts = await asyncio.to_thread(service.facts.of, entry)
    loaded = {served.name: served.llm for served in service.pool.loaded()}
    llm = loaded.get(entry.names[0])
    context = facts.config.max_position_embeddings if llm is None else llm.context
    return {
        "model_id": entry.names[0],
        "model_sha": facts.local.digest,
        "model_dtype": facts.quantization,
        "model_device_type": None if llm is None else "cpu" if llm.is_on_cpu else "cuda",
        "model_pipeline_tag": "text-generation",
        "max_concurrent_requests": service.config.limits.waiting,
        "max_best_of": 128,
        "max_input_tokens": (entry.context or context) - 1,
        "max_total_tokens": entry.context or context,
        "router": "tongwen",
        "version": __version__,
    }


def tgi_error(error: ApiError) -> dict[str, Any]:
    """The body of an answer, or the last event of a stream, that is an error."""
    other = "generation" if error.status >= 500 else "validation"
    return {"error": error.message, "error_type": _KINDS.get(error.status, other)}


def _wish(request: Request, body: GenerateRequest) -> _Text:
    return _Text(service_of(request).name_or_only(body.model), body)


async def _whole(service: Service, wish: _Text, request: Request) -> dict[str, Any]:
    asked = wish.body.parameters
    done = await service.complete(wish, Manner(caller_of(request)))
    best, *others = ranked(done.completions) if asked.best_of else done.completions
    before = wish.body.inputs if asked.return_full_text else ""
    answer: dict[str, Any] = {"generated_text": before + best.text}
    if asked.details or asked.decoder_input_details:
        details = _details(done.served, best, asked)
        if others:
            details["best_of_sequences"] = [
                {"generated_text": before + one.text, **_details(done.served, one, asked)}
                for one in others
            ]
        answer["details"] = details
    return answer


def _details(served: Served, done: Completion, asked: Parameters) -> dict[str, Any]:
    rows = zip(done.token_ids, done.logprobs, strict=True)
    details = {
        **_end(done, asked),
        "prefill": _prefill(served, done),
        "tokens": [_token(served, *row, text_of(served.llm.tokenizer, row[0])) for row in rows],
    }
    if asked.top_n_tokens:
        count = asked.top_n_tokens
        details["top_tokens"] = [_tops(served, top, count) for top in done.top_logprobs or ()]
    return details


def _end(done: Completion, asked: Parameters) -> dict[str, Any]:
    stopped = "stop_sequence" if isinstance(done.stop_reason, str) else "eos_token"
    return {
        "finish_reason": stopped if done.finish_reason == "stop" else "length",
        "generated_tokens": len(done.token_ids),
        "seed": done.seed if asked.is_sampled else None,
    }


def _prefill(served: Served, done: Completion) -> list[dict[str, Any]]:
    rows = zip(done.prompt_token_ids, done.prompt_logprobs or (), strict=False)
    tokenizer = served.llm.tokenizer
    return [
        {"id": token_id, "text": text_of(tokenizer, token_id), "logprob": logprob}
        for token_id, logprob in rows
    ]


def _tops(served: Served, top: Mapping[int, float], count: int) -> list[dict[str, Any]]:
    best = sorted(top.items(), key=lambda one: -one[1])[:count]
    return [_token(served, *one, text_of(served.llm.tokenizer, one[0])) for one in best]


def _token(served: Served, token_id: int, logprob: float, text: str) -> dict[str, Any]:
    return {
        "id": token_id,
        "text": text,
        "logprob": max(logprob, LEAST),
        "special": token_id in served.llm.tokenizer.control.values(),
    }


async def _events(opened: Opened, asked: Parameters) -> AsyncIterator[bytes]:
    """One event for each token; an error on the way is the last of them."""
    count = 0
    try:
        async for batch in opened.batches:
            yield b"".join(_events_of(opened.served, asked, batch, count))
            count += len(batch)
    except Exception as error:
        yield event(tgi_error(api_error(error)))


def _events_of(
    served: Served, asked: Parameters, batch: Sequence[Piece], count: int
) -> list[bytes]:
    """The events of some pieces; the text of each is what it adds, the texts joined the whole."""
    events = []
    for index, (delta, _) in enumerate(batch, count + 1):
        done = delta.completion
        token_id = delta.token_id
        if token_id is None:  # the end of a form that was complete without one
            token_id = served.llm.chat_format.stop_ids[0]
        said: dict[str, Any] = {
            "index": index,
            "token": _token(served, token_id, delta.logprob or 0.0, delta.text),
            "generated_text": None if done is None else done.text,
            "details": None,
        }
        if asked.top_n_tokens:
            said["top_tokens"] = _tops(served, delta.top_logprobs or {}, asked.top_n_tokens)
        if done is not None:
            prompt = {"input_length": len(done.prompt_token_ids)}
            said["details"] = {**_end(done, asked), **prompt}
        events.append(event(said))
    return events

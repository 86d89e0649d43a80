"""What vLLM's servers offer besides OpenAI's dialect: tokens, scores, health and figures."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from tongwen.errors import RequestError
from tongwen.server.errors import ApiError, invalid
from tongwen.server.openai.usage import head_of, usage_of
from tongwen.server.served import Served, off_loop
from tongwen.server.service import Manner, caller_of, service_of
from tongwen.server.sse import unless_gone
from tongwen.server.texts import score
from tongwen.server.wire import JsonRoute, Wire
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.version import __version__

router = APIRouter(route_class=JsonRoute, tags=["vLLM"])


class TokenizeRequest(Wire):
    """A text, or a conversation, to be made token ids."""

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None

    @property
    def length(self) -> int:
        """About how many characters are made tokens."""
        return len(self.prompt or "") + len(str(self.messages or "")) + len(str(self.tools or ""))


class DetokenizeRequest(Wire):
    """Token ids to be made text."""

    model: str | None = None
    tokens: list[int]


class ScoreRequest(Wire):
    """Texts whose tokens' log-probabilities are wanted."""

    model: str | None = None
    prompts: list[str] | list[list[int]]


@router.post("/tokenize")
async def tokenize(request: Request, body: TokenizeRequest) -> dict[str, Any]:
    """Token ids of a text, in which control tokens count, or of a conversation."""
    service = service_of(request)
    if (body.prompt is None) == (body.messages is None):
        raise invalid("prompt", "give one of `prompt` and `messages`")
    async with service.lease(service.name_or_only(body.model)) as served:
        ids = await off_loop(lambda: _ids(served, body), body.length)
        tokenizer = served.llm.tokenizer
        texts = [tokenizer.token_bytes(each).decode("utf-8", "replace") for each in ids]
        return {
            "tokens": ids,
            "count": len(ids),
            "max_model_len": served.llm.context,
            "token_strs": texts if body.return_token_strs else None,
        }


def _ids(served: Served, body: TokenizeRequest) -> list[int]:
    if body.prompt is not None:
        return served.llm.tokenizer.encode(body.prompt, allow_control=True)
    rendered = served.llm.chat_format.render(
        body.messages or [],
        tools=body.tools,
        add_generation_prompt=body.add_generation_prompt and not body.continue_final_message,
        continue_final_message=body.continue_final_message,
    )
    return rendered.token_ids


@router.post("/detokenize")
async def detokenize(request: Request, body: DetokenizeRequest) -> dict[str, Any]:
    """The text of token ids."""
    service = service_of(request)
    async with service.lease(service.name_or_only(body.model)) as served:
        return {"prompt": served.llm.tokenizer.decode(body.tokens)}


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request, model: str | None = None) -> dict[str, Any]:
    """The control tokens that begin, end and pad, for clients that count tokens through us."""
    service = service_of(request)
    async with service.lease(service.name_or_only(model)) as served:
        tokenizer = served.llm.tokenizer
        ends = tokenizer.ends
        return {
            "tokenizer_class": "Qwen2Tokenizer",
            "add_bos_token": ends.add_bos_token,
            "bos_token": _control(tokenizer, ends.bos_token_id if ends.add_bos_token else None),
            "eos_token": _control(tokenizer, ends.eos_token_id),
            "pad_token": _control(tokenizer, ends.pad_token_id),
            "model_max_length": served.llm.context,
        }


def _control(tokenizer: Tokenizer, token_id: int | None) -> str | None:
    return None if token_id is None else tokenizer.decode([token_id])


@router.post("/score")
async def score_texts(request: Request, body: ScoreRequest) -> Response:
    """The natural-log probability of each token after those before it; of the first null."""
    service, manner = service_of(request), Manner(caller_of(request))
    if not body.prompts:
        raise RequestError("`prompts` is empty")
    model = service.name_or_only(body.model)
    done = await unless_gone(request, score(service, manner, model, body.prompts))
    data = [
        {
            "index": index,
            "object": "score",
            "token_ids": each.ask.prompt_ids,
            "logprobs": each.completions[0].prompt_logprobs,
        }
        for index, each in enumerate(done)
    ]
    tokens = sum(len(each.ask.prompt_ids) for each in done)
    head = head_of("list", "score", done[0].served.name)
    return JSONResponse({**head, "data": data, "usage": usage_of(tokens, 0)})


@router.get("/health")
@router.get("/ping")
async def health() -> Response:
    """Whether the process lives."""
    return Response()


@router.get("/ready")
async def ready(request: Request) -> Response:
    """Whether requests are taken: not while the server ends or a model is being loaded."""
    service = service_of(request)
    if service.is_draining or service.pool.is_loading:
        why = "the server is ending" if service.is_draining else "a model is being loaded"
        raise ApiError(503, why, "not_ready", headers={"Retry-After": "1"})
    return Response()


@router.get("/version")
async def version() -> dict[str, str]:
    """The version of Tongwen."""
    return {"version": __version__}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    text = service_of(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

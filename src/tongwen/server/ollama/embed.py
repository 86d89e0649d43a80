"""`POST /api/embed`, and `/api/embeddings` as it was before."""

import time
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from tongwen.server.ollama.durations import nanoseconds
from tongwen.server.ollama.names import entry_of, look_up
from tongwen.server.ollama.options import Options
from tongwen.server.ollama.wire import KeepAlive, preload
from tongwen.server.pool import Listed
from tongwen.server.service import Manner, Service, caller_of, service_of
from tongwen.server.sse import unless_gone
from tongwen.server.texts import embed
from tongwen.server.wire import JsonRoute, Wire

router = APIRouter(route_class=JsonRoute, tags=["Ollama"])


class EmbedRequest(Wire):
    """Texts to be made vectors; of the options only `num_ctx` is of weight."""

    model: str
    input: str | list[str]
    truncate: bool | None = None
    dimensions: Annotated[int, Field(ge=0)] | None = None
    options: Options | None = None
    keep_alive: KeepAlive = None


class EmbeddingsRequest(Wire):
    """A text to be made a vector."""

    model: str
    prompt: str | None = None
    options: Options | None = None
    keep_alive: KeepAlive = None


@router.post("/api/embed")
async def embed_texts(request: Request, body: EmbedRequest) -> Response:
    """One vector of length 1 for each text; what is beyond the context is left out unless refused.

    Ollama documents `truncate` as true where it is not given.
    """
    service = service_of(request)
    listed = look_up(service, body.model)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not any(texts):
        await preload(request, body.model, body.keep_alive)
        return JSONResponse({"model": body.model, "embeddings": []})
    manner = Manner(caller_of(request), keep_alive_s=body.keep_alive)
    return JSONResponse(await unless_gone(request, _embedded(service, listed, manner, body, texts)))


async def _embedded(
    service: Service, listed: Listed, manner: Manner, body: EmbedRequest, texts: list[str]
) -> dict[str, Any]:
    begun = time.perf_counter()
    async with service.lease(listed, body.keep_alive):
        ready = time.perf_counter()
        vectors, done = await embed(
            service,
            manner,
            body.model,
            texts,
            dimensions=body.dimensions or None,
            truncate=body.truncate is not False,
            num_ctx=None if body.options is None else body.options.num_ctx,
        )
    return {
        "model": body.model,
        "embeddings": [[float(value) for value in vector] for vector in vectors],
        "total_duration": nanoseconds(time.perf_counter() - begun),
        "load_duration": nanoseconds(ready - begun),
        "prompt_eval_count": sum(len(each.ask.prompt_ids) for each in done),
    }


@router.post("/api/embeddings")
async def embed_prompt(request: Request, body: EmbeddingsRequest) -> Response:
    """The vector of one text, which must fit the context."""
    service = service_of(request)
    entry_of(service, body.model)
    if not body.prompt:
        await preload(request, body.model, body.keep_alive)
        return JSONResponse({"embedding": []})
    manner = Manner(caller_of(request), keep_alive_s=body.keep_alive)
    num_ctx = None if body.options is None else body.options.num_ctx
    work = embed(service, manner, body.model, [body.prompt], num_ctx=num_ctx)
    vectors, _ = await unless_gone(request, work)
    return JSONResponse({"embedding": [float(value) for value in vectors[0]]})

"""`POST /v1/embeddings`."""

import base64
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from tongwen.server.errors import invalid
from tongwen.server.openai.usage import usage_of
from tongwen.server.service import Manner, Service, caller_of, service_of
from tongwen.server.sse import unless_gone
from tongwen.server.texts import embed
from tongwen.server.wire import JsonRoute, Wire

router = APIRouter(route_class=JsonRoute, tags=["OpenAI"])


class EmbeddingRequest(Wire):
    """Texts to be made vectors."""

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    pooling: Literal["mean", "last"] = "mean"

    idle = frozenset({"user"})


@router.post("/v1/embeddings")
async def create_embeddings(request: Request, body: EmbeddingRequest) -> Response:
    """One vector of length 1 for each text."""
    service, manner = service_of(request), Manner(caller_of(request))
    return JSONResponse(await unless_gone(request, embed_texts(service, manner, body)))


async def embed_texts(service: Service, manner: Manner, body: EmbeddingRequest) -> dict[str, Any]:
    """The whole answer.

    Raises:
        TongwenError: It cannot be given.
    """
    given: Any = body.input
    inputs = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    if not inputs:
        raise invalid("input", "`input` is empty")
    vectors, done = await embed(
        service, manner, body.model, inputs, pooling=body.pooling, dimensions=body.dimensions
    )
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector, body)}
        for index, vector in enumerate(vectors)
    ]
    tokens = sum(len(each.ask.prompt_ids) for each in done)
    model = done[0].served.name
    return {"object": "list", "data": data, "model": model, "usage": usage_of(tokens, 0)}


def _written(vector: np.ndarray, body: EmbeddingRequest) -> list[float] | str:
    if body.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]

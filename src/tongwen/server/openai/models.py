"""`GET /v1/models`."""

from typing import Any

from fastapi import APIRouter, Request

from tongwen.server.anthropic.models import anthropic_model, anthropic_models
from tongwen.server.config import DerivedEntry, ModelEntry
from tongwen.server.service import Service, service_of

_ANTHROPIC = "anthropic-version"

router = APIRouter(tags=["OpenAI"])


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The models that can be asked, under every name that they have.

    Anthropic's clients ask at the same path and say so in the request's head.
    """
    service = service_of(request)
    if _ANTHROPIC in request.headers:
        return anthropic_models(service, request.query_params)
    data = [
        _model(service, entry, name) for entry in service.pool.entries() for name in entry.names
    ]
    return {"object": "list", "data": data}


@router.get("/v1/models/{name:path}")
async def retrieve_model(request: Request, name: str) -> dict[str, Any]:
    """One of them."""
    service = service_of(request)
    write = anthropic_model if _ANTHROPIC in request.headers else _model
    return write(service, service.pool.entry(name), name)


def _model(service: Service, entry: ModelEntry, name: str) -> dict[str, Any]:
    loaded = {served.name: served for served in service.pool.loaded()}
    served = loaded.get(entry.names[0])
    context = entry.context if served is None else served.llm.context
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": "tongwen",
        "root": entry.model,
        "parent": None,
        "context_length": context,
        "max_model_len": context,
        "vocab_size": None if served is None else len(served.llm.tokenizer),
        "numerics": None if served is None else served.llm.numerics,
        "is_loaded": served is not None,
        "is_default": _is_default(entry),
        "is_chat": None if served is None else served.llm.is_chat,
    }


def _is_default(entry: ModelEntry) -> bool:
    """Whether it is served as it is where nobody says otherwise."""
    asked = (entry.weights, entry.context, entry.generation)
    return asked == ("auto", None, "checkpoint") and not isinstance(entry, DerivedEntry)

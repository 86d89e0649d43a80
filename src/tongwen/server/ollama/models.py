"""`GET /api/tags` and `/api/ps`, `POST /api/show`."""

import asyncio
import hashlib
import json
import time
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from tongwen.checkpoint.manifest import LocalModel
from tongwen.checkpoint.sources import UNSTATED
from tongwen.errors import CheckpointError, ModelNotFoundError
from tongwen.server.config import DerivedEntry, ModelEntry
from tongwen.server.facts import Facts
from tongwen.server.ollama.durations import in_seconds, written
from tongwen.server.ollama.modelfile import Recipe, parameter_lines, write_modelfile
from tongwen.server.ollama.names import Empty, NamedWire, entry_of, tagged
from tongwen.server.served import Served
from tongwen.server.service import Service, service_of
from tongwen.server.wire import JsonRoute

router = APIRouter(route_class=JsonRoute, tags=["Ollama"])


class ShowRequest(NamedWire):
    """A model about which everything is wanted."""

    verbose: bool | None = None
    """Its tensors too."""

    system: Empty = None
    template: Empty = None
    options: Empty = None


@router.get("/api/tags")
async def list_models(request: Request) -> dict[str, Any]:
    """The models that can be asked."""
    service = service_of(request)
    return {"models": await asyncio.to_thread(_listed, service)}


def _listed(service: Service) -> list[dict[str, Any]]:
    models = []
    for entry in service.pool.entries():
        try:
            facts = service.facts.of(entry)
        except (ModelNotFoundError, CheckpointError):  # named, and not fetched yet or damaged
            continue
        models += [_model(entry, facts, name) for name in entry.names]
    return models


@router.get("/api/ps")
async def list_loaded(request: Request) -> dict[str, Any]:
    """The models in memory, and until when they stay."""
    service = service_of(request)
    models = [await asyncio.to_thread(_loaded, service, each) for each in service.pool.loaded()]
    return {"models": models}


def _loaded(service: Service, served: Served) -> dict[str, Any]:
    size = served.llm.weights_bytes
    return {
        **_model(served.entry, service.facts.of(served.entry), served.name),
        "size": size,
        "size_vram": 0 if served.llm.is_on_cpu else size,
        "expires_at": in_seconds(served.until - time.monotonic()),
        "context_length": served.llm.context,
    }


@router.post("/api/show")
async def show(request: Request, body: ShowRequest) -> Response:
    """What is known of a model."""
    service = service_of(request)
    entry = entry_of(service, body.called)
    facts = await asyncio.to_thread(service.facts.of, entry)
    shown = _shown(entry, facts)
    if body.verbose:
        shown["tensors"] = [
            {"name": name, "type": format, "shape": shape} for name, format, shape in facts.tensors
        ]
    return JSONResponse(shown)


def _shown(entry: ModelEntry, facts: Facts) -> dict[str, Any]:
    recipe = _recipe(entry)
    own = {
        "temperature": facts.generation.temperature if facts.generation.do_sample else 0,
        "top_p": facts.generation.top_p,
        "top_k": facts.generation.top_k,
        "repeat_penalty": facts.generation.repetition_penalty,
    }
    defaults = {} if entry.generation == "none" else own
    said = {name: value for name, value in defaults.items() if value is not None}
    shown: dict[str, Any] = {
        "license": _licence(entry, facts),
        "modelfile": write_modelfile(recipe),
        "parameters": parameter_lines({**said, **recipe.parameters}),
        "template": facts.template or "",
        "details": _details(entry, facts),
        "model_info": _info(facts),
        "capabilities": _capabilities(facts),
        "modified_at": _modified(entry, facts.local),
    }
    if recipe.system is not None:
        shown["system"] = recipe.system
    if recipe.messages:
        shown["messages"] = list(recipe.messages)
    return shown


def _recipe(entry: ModelEntry) -> Recipe:
    """How the model can be made again."""
    if not isinstance(entry, DerivedEntry):
        return Recipe(base=entry.names[0])
    made = entry.derived
    return Recipe(
        base=made.base,
        system=made.system,
        parameters=dict(made.parameters),
        messages=list(made.messages),
    )


def _licence(entry: ModelEntry, facts: Facts) -> str:
    if isinstance(entry, DerivedEntry):
        return entry.derived.licence
    stated = facts.local.licence
    return stated if stated != UNSTATED else facts.licence or UNSTATED


def _capabilities(facts: Facts) -> list[str]:
    """What it can do.

    Every model makes vectors, but `embedding` is not said: Ollama's own `run` takes a model that
    says so for one that does nothing else.
    """
    others = {"tools": facts.can_call, "insert": facts.can_fill}
    return ["completion", *(name for name, is_so in others.items() if is_so)]


def _info(facts: Facts) -> dict[str, Any]:
    """The shape, under GGUF's names."""
    config, family = facts.config, facts.family
    shape = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": config.rope_theta,
        "vocab_size": facts.vocab_size,
    }
    return {
        "general.architecture": family,
        "general.parameter_count": facts.num_parameters,
        **{f"{family}.{name}": value for name, value in shape.items()},
    }


def _model(entry: ModelEntry, facts: Facts, name: str) -> dict[str, Any]:
    return {
        "name": tagged(name),
        "model": tagged(name),
        "modified_at": _modified(entry, facts.local),
        "size": facts.local.size_bytes,
        "digest": _digest(entry, facts.local),
        "details": _details(entry, facts),
    }


def _details(entry: ModelEntry, facts: Facts) -> dict[str, Any]:
    return {
        "parent_model": entry.derived.base if isinstance(entry, DerivedEntry) else "",
        "format": "gguf" if facts.is_gguf else "safetensors",
        "family": facts.family,
        "families": [facts.family],
        "parameter_size": _in_words(facts.num_parameters),
        "quantization_level": facts.quantization,
    }


def _in_words(count: int) -> str:
    """A number of parameters as Ollama writes it."""
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.2f}M"


def _digest(entry: ModelEntry, local: LocalModel) -> str:
    """Identity of a model: the digest of its files, of a derived one also of what it adds.

    Of files that the store does not keep, that of their place, size and time.
    """
    files = local.digest
    if files is None:
        state = [str(local.path), local.size_bytes, local.path.stat().st_mtime_ns]
        files = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    if not isinstance(entry, DerivedEntry):
        return files
    made = entry.derived
    told = [files, made.system, dict(made.parameters), list(made.messages)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _modified(entry: ModelEntry, local: LocalModel) -> str:
    if isinstance(entry, DerivedEntry):
        return written(datetime.fromisoformat(entry.derived.made_at))
    found = local.pulled_at
    return written(found or datetime.fromtimestamp(local.path.stat().st_mtime, tz=UTC))

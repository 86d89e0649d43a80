"""`POST /api/create`, `/api/copy` and `/api/push`, `DELETE /api/delete`."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field

from tongwen.checkpoint.derived import DerivedModels
from tongwen.server.errors import ApiError, unsupported
from tongwen.server.ollama.chat import ChatMessage
from tongwen.server.ollama.making import Base, add_to, base_of, new_name
from tongwen.server.ollama.modelfile import Recipe, parse_modelfile
from tongwen.server.ollama.names import NamedWire, check_open, check_text, entry_of, untagged
from tongwen.server.ollama.options import options_of
from tongwen.server.ollama.pull import SUCCESS, PullRequest, answer_steps
from tongwen.server.service import Service, service_of
from tongwen.server.wire import JsonRoute, Wire

router = APIRouter(route_class=JsonRoute, tags=["Ollama"])


class CreateRequest(NamedWire):
    """A model to be made from another, or from files that were uploaded."""

    model_config = ConfigDict(**{**NamedWire.model_config, "populate_by_name": True})

    from_: str | None = Field(default=None, alias="from")
    files: dict[str, str] | None = None
    modelfile: str | None = None
    template: str | None = None
    system: str | None = None
    license: str | list[str] | None = None
    parameters: dict[str, Any] | None = None
    messages: list[ChatMessage] | None = None
    adapters: dict[str, str] | None = None
    quantize: str | None = None
    stream: bool | None = None

    unserved: ClassVar[dict[str, str]] = {
        "path": "give the Modelfile's text as `modelfile`, or `from`",
        "renderer": "templates are the model's own",
        "parser": "templates are the model's own",
    }

    def recipe(self) -> Recipe:
        """How the model is made.

        Raises:
            ConfigError: The Modelfile is none.
            ApiError: Something is asked for that we do not serve.
        """
        check_text("template", self.template)
        if self.adapters:
            raise unsupported("adapters", "merge them first (`tongwen merge`)")
        if self.quantize:
            raise unsupported("quantize", "`tongwen quantize` does that")
        recipe = parse_modelfile(self.modelfile) if self.modelfile else Recipe()
        recipe.base = self.from_ or recipe.base
        recipe.files |= self.files or {}
        recipe.system = self.system or recipe.system
        recipe.parameters |= self.parameters or {}
        recipe.messages += [message.plain() for message in self.messages or ()]
        recipe.licences += [self.license] if isinstance(self.license, str) else self.license or []
        if (recipe.base is None) == (not recipe.files):
            raise ApiError(
                400, "give one of `from` (or FROM) and `files`", "missing_parameter", "from"
            )
        return recipe


class CopyRequest(Wire):
    """A model to be given another name."""

    source: str
    destination: str


@router.post("/api/create")
async def create(request: Request, body: CreateRequest) -> Response:
    """Make a model."""
    service = service_of(request)
    recipe, name = body.recipe(), new_name(service, body.called)
    options_of(recipe.parameters).sampling()
    steps = _making(service, name, recipe)
    return await answer_steps(request, steps, is_streamed=body.stream is not False)


async def _making(
    service: Service, name: str, recipe: Recipe
) -> AsyncGenerator[dict[str, Any], None]:
    yield {"status": "reading model metadata"}
    base: Base | None = None
    async for found in base_of(service, recipe):
        if isinstance(found, Base):
            base = found
        else:
            yield found
    assert base is not None, "the last thing that is found is the base, or an error is raised"
    yield {"status": "writing manifest"}
    made = add_to(base, name, recipe)
    await asyncio.to_thread(DerivedModels(service.store.home).add, made)
    yield SUCCESS


@router.post("/api/copy")
async def copy(request: Request, body: CopyRequest) -> Response:
    """Give a model another name; the weights are the same."""
    service = service_of(request)
    entry = entry_of(service, body.source)
    name = new_name(service, body.destination)
    base = await asyncio.to_thread(Base.of_entry, service, entry)
    made = add_to(base, name, Recipe())
    await asyncio.to_thread(DerivedModels(service.store.home).add, made)
    return Response()


@router.delete("/api/delete")
async def delete(request: Request, body: NamedWire) -> Response:
    """Delete a model; one that others use goes last."""
    service = service_of(request)
    name = untagged(body.called)
    derived = DerivedModels(service.store.home)
    if derived.has(name):
        if any(served.name == name for served in service.pool.loaded()):
            service.pool.unload(name)
        await asyncio.to_thread(derived.remove, name, service.store)
        return Response()
    entry = entry_of(service, body.called)
    check_open(service)
    users = await asyncio.to_thread(derived.users_of, entry.model)
    if users:
        others = ", ".join(f"`{each}`" for each in users)
        raise ApiError(409, f"`{name}` is used by {others}; delete those first", "conflict")
    service.pool.unload(name)
    await asyncio.to_thread(service.store.remove, entry.model)
    return Response()


@router.post("/api/push")
async def push(body: PullRequest) -> Response:
    """Not served."""
    raise unsupported("push", f"`{body.called}` stays here; `tongwen export` writes it to files")

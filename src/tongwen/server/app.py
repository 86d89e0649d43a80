"""The application: the dialects side by side, behind one door."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from tongwen.errors import TongwenError
from tongwen.server import tgi, vllm
from tongwen.server.anthropic import messages
from tongwen.server.anthropic.errors import anthropic_error
from tongwen.server.batch.runner import Batches
from tongwen.server.door import Door
from tongwen.server.errors import ApiError, api_error
from tongwen.server.files import Files
from tongwen.server.ollama import blobs, create, embed, generate, home, pull
from tongwen.server.ollama import chat as ollama_chat
from tongwen.server.ollama import models as ollama_models
from tongwen.server.ollama.errors import ollama_error
from tongwen.server.openai import batches, chat, completions, embeddings, files, models, responses
from tongwen.server.openai.errors import openai_error
from tongwen.server.page import pages
from tongwen.server.service import Service
from tongwen.server.sse import GoneError
from tongwen.server.wire import refusal
from tongwen.version import __version__

ROUTERS = (
    chat.router,
    completions.router,
    embeddings.router,
    models.router,
    responses.router,
    files.router,
    batches.router,
    messages.router,
    vllm.router,
    home.router,
    generate.router,
    ollama_chat.router,
    embed.router,
    ollama_models.router,
    pull.router,
    create.router,
    blobs.router,
    tgi.router,
    pages.router,
)
"""The dialects."""

ERRORS: tuple[tuple[tuple[str, ...], Callable[[ApiError], dict[str, Any]]], ...] = (
    (("/v1/messages",), anthropic_error),
    (("/api/",), ollama_error),
    (("/generate", "/info"), tgi.tgi_error),
)
"""How errors are written below these paths; elsewhere as OpenAI does."""

_MISSING = 499  # nobody reads it


def create_app(service: Service) -> FastAPI:
    """The application of a server.

    Args:
        service: Its models, keys and figures.
    """
    app = FastAPI(
        title="Tongwen",
        version=__version__,
        lifespan=_lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    limits = service.config.limits
    files = Files(service.store.home / "files", limits.stored_bytes, limits.stored_files)
    app.state.files, app.state.batches = files, Batches(service, files)
    for router in ROUTERS:
        app.include_router(router)
    for kind in (ApiError, TongwenError, RequestValidationError, HTTPException, GoneError):
        app.add_exception_handler(kind, _answer_error)
    app.add_exception_handler(Exception, _answer_error)
    config = service.config
    if config.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    app.add_middleware(
        Door,
        config=config,
        keys=service.keys,
        metrics=service.metrics,
        write_error=write_error,
    )
    return app


def write_error(path: str, error: ApiError) -> Mapping[str, Any]:
    """An error as the dialect of a path writes it."""
    for prefixes, write in ERRORS:
        if path.startswith(prefixes):
            return write(error)
    return openai_error(error)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    batches: Batches = app.state.batches
    watch = asyncio.create_task(service.pool.keep_watch())
    try:
        await batches.resume()
        yield
    finally:
        watch.cancel()
        await batches.close()
        await service.pool.close()


async def _answer_error(request: Request, error: Exception) -> Response:
    found = _api_error(request, error)
    found.request_id = request.scope["request_id"]
    body = write_error(request.url.path, found)
    return JSONResponse(body, found.status, dict(found.headers))


def _api_error(request: Request, error: Exception) -> ApiError:
    if isinstance(error, GoneError):
        return ApiError(_MISSING, "the client has left", "cancelled")
    if isinstance(error, RequestValidationError):
        return refusal(error)
    if isinstance(error.__cause__, ApiError):  # FastAPI wraps what reading the body raises
        return error.__cause__
    if isinstance(error, HTTPException):
        path = request.url.path
        said = {
            404: f"there is no `{path}` here",
            405: f"`{path}` does not take {request.method}",
        }
        return ApiError(
            error.status_code,
            said.get(error.status_code, str(error.detail)),
            "not_found" if error.status_code == 404 else "invalid_request",
            headers=dict(error.headers or {}),
        )
    return api_error(error)

"""Bodies as they come in: JSON and nothing else, every name in it known."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

import pydantic_core
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tongwen.server.errors import ApiError, invalid, unsupported


class Wire(BaseModel):
    """A body, or a part of one.

    A name that nobody knows is refused, and so is one that we know and do not serve: nothing that
    a caller asks for is ignored in silence.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    unserved: ClassVar[Mapping[str, str]] = {}
    """Parameters of this dialect that are refused, each with the reason; null is no wish."""

    idle: ClassVar[frozenset[str]] = frozenset()
    """Parameters that change no answer: notes of the caller's own."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, body: object) -> object:
        if not isinstance(body, dict):
            return body
        for name, why in cls.unserved.items():
            if body.get(name) is not None:
                raise unsupported(name, why)
        return {
            name: value
            for name, value in body.items()
            if name not in cls.idle and name not in cls.unserved
        }


class JsonRequest(Request):
    """A request whose body is JSON whatever its head says: `curl -d` says it is a form."""

    async def json(self) -> Any:  # noqa: ANN401 - whatever JSON can say
        """The body.

        Raises:
            ApiError: It is no JSON: a number that is none, half a surrogate pair, too deep ...
        """
        try:
            return pydantic_core.from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise invalid(None, f"the body is no JSON: {error}") from error


class JsonRoute(APIRoute):
    """A route whose body is read as `JsonRequest` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given such a request."""
        handle = super().get_route_handler()

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(_as_json(request.scope), request.receive))

        return handle_json


def _as_json(scope: Any) -> Any:  # noqa: ANN401 - ASGI's
    """The same head with the type of JSON, but of forms with files."""
    kept = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    said = dict(scope["headers"]).get(b"content-type", b"")
    if said.startswith(b"multipart/"):
        return scope
    return {**scope, "headers": [*kept, (b"content-type", b"application/json")]}


def refusal(error: RequestValidationError | ValidationError) -> ApiError:
    """The first fault of a body, by name."""
    first: Mapping[str, Any] = error.errors()[0]
    place = [part for part in first["loc"] if part not in ("body", "query", "path")]
    param = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    param = param.lstrip(".")
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"unknown parameter `{param}`", "unknown_parameter", param)
    if first["type"] == "missing" and not param:
        return invalid(None, "a JSON body is needed")
    if first["type"] == "missing":
        return ApiError(400, f"`{param}` is missing", "missing_parameter", param)
    said = first["msg"].removeprefix("Value error, ")
    return invalid(param or None, f"`{param}`: {said}" if param else said)

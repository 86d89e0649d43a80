"""What goes wrong, as HTTP says it; each dialect writes it in its own shape."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from tongwen.errors import (
    BusyError,
    CapacityError,
    ConfigError,
    ContextError,
    ModelNotFoundError,
    RequestError,
    TokenizerError,
    TongwenError,
)

log = logging.getLogger(__name__)


@dataclass(eq=False)
class ApiError(Exception):
    """A request that is not answered as it wished."""

    status: int
    """Of HTTP."""

    message: str
    """One line, with the numbers and the remedy."""

    code: str
    """A word that programs compare, as OpenAI has them."""

    param: str | None = None
    """The parameter at fault."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """More of the answer's head: `Retry-After`."""

    request_id: str | None = None
    """Of the request; whoever writes the answer fills it in."""

    def __str__(self) -> str:
        return self.message


RETRY = {"Retry-After": "1"}
_STATUS: tuple[tuple[type[TongwenError], int, str], ...] = (
    (ModelNotFoundError, 404, "model_not_found"),
    (BusyError, 503, "overloaded"),
    (CapacityError, 503, "out_of_memory"),
    (ContextError, 400, "context_length_exceeded"),
    (RequestError, 400, "invalid_value"),
    (TokenizerError, 400, "invalid_value"),
    (ConfigError, 400, "invalid_value"),
)


def api_error(error: Exception) -> ApiError:
    """What the caller is told of an error; of one that nobody foresaw only that it happened."""
    if isinstance(error, ApiError):
        return error
    if not isinstance(error, TongwenError):
        log.error("a request failed", exc_info=error)
        return ApiError(500, "the server failed; its log says why", "internal_error")
    said = error.message + (f"; {error.hint}" if error.hint else "")
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            return ApiError(status, said, code, headers=RETRY if status == 503 else {})
    return ApiError(500, said, "internal_error")


def unsupported(param: str, why: str) -> ApiError:
    """A parameter that we know and do not serve."""
    return ApiError(400, f"`{param}` is not supported: {why}", "unsupported_parameter", param)


def invalid(param: str | None, message: str) -> ApiError:
    """A value that is none."""
    return ApiError(400, message, "invalid_value", param)

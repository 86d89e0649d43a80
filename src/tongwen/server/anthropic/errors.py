"""Errors in Anthropic's shape."""

from typing import Any

from tongwen.server.errors import ApiError

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def anthropic_error(error: ApiError) -> dict[str, Any]:
    """The body of an answer that is an error, and the event that ends a stream with one."""
    default = "api_error" if error.status >= 500 else "invalid_request_error"
    told = {"type": _TYPES.get(error.status, default), "message": error.message}
    return {"type": "error", "error": told, "request_id": error.request_id}

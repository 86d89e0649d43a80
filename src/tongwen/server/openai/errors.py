"""Errors in OpenAI's shape."""

from typing import Any

from tongwen.server.errors import ApiError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}


def openai_error(error: ApiError) -> dict[str, Any]:
    """The body of an answer that is an error."""
    kind = "server_error" if error.status >= 500 else _TYPES.get(error.status)
    kind = "rate_limit_error" if error.status == 429 else kind or "invalid_request_error"
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code,
        }
    }

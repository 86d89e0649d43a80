"""Errors in Ollama's shape."""

from typing import Any

from tongwen.server.errors import ApiError


def ollama_error(error: ApiError) -> dict[str, Any]:
    """The body of an answer, or the last line of a stream, that is an error."""
    return {"error": error.message}


def not_found(name: str) -> ApiError:
    """Nobody has that model; in Ollama's words, which clients look for."""
    return ApiError(404, f"model '{name}' not found", "model_not_found", "model")

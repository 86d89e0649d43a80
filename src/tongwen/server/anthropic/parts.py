"""What whole answers and streams of Anthropic's dialect have in common."""

import secrets
from typing import Any

from tongwen.engine.completion import Completion, FinishReason

_STOPS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "loop": "max_tokens",
    "language": "refusal",
}


def new_id(prefix: str) -> str:
    """An id of a message or of a call."""
    return f"{prefix}_{secrets.token_hex(12)}"


def message_of(model: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    """A message of the assistant's; why it stopped and its usage are added."""
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
    }


def stop_of(done: Completion, *, calls: bool) -> dict[str, Any]:
    """Why a completion ended, and the string that ended it if one did."""
    if done.finish_reason == "stop" and isinstance(done.stop_reason, str):
        return {"stop_reason": "stop_sequence", "stop_sequence": done.stop_reason}
    if done.finish_reason == "stop" and calls:
        return {"stop_reason": "tool_use", "stop_sequence": None}
    return {"stop_reason": _STOPS.get(done.finish_reason, "end_turn"), "stop_sequence": None}


def usage_of(prompt: int, written: int, cached: int = 0) -> dict[str, Any]:
    """Tokens that were read, that the cache held besides, and that were written."""
    return {
        "input_tokens": prompt - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": written,
    }

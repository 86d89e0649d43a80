"""What an answer says of itself: ids, times and tokens."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from tongwen.engine.completion import Completion, FinishReason

_REASONS: dict[FinishReason, str] = {"loop": "length", "language": "content_filter"}
"""OpenAI's words for ends that it does not know; the engine's own goes beside (`stop_reason`)."""


def head_of(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """How an answer begins."""
    return {
        "id": f"{prefix}-{secrets.token_hex(16)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def usage(completions: Sequence[Completion]) -> dict[str, Any]:
    """Tokens of a prompt, of its completions, and of the prompt that the cache held."""
    prompt = len(completions[0].prompt_token_ids)
    written = sum(len(done.token_ids) for done in completions)
    return usage_of(prompt, written, completions[0].num_cached_tokens)


def usage_of(prompt: int, written: int, cached: int = 0) -> dict[str, Any]:
    """The same from numbers."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def finish_of(done: Completion, *, calls: bool = False) -> dict[str, Any]:
    """Why a completion ended, in OpenAI's word and in ours."""
    reason = _REASONS.get(done.finish_reason, done.finish_reason)
    stopped_by = done.finish_reason if done.finish_reason in _REASONS else done.stop_reason
    return {
        "finish_reason": "tool_calls" if calls and reason == "stop" else reason,
        "stop_reason": stopped_by,
    }

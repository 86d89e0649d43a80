"""Log-probabilities, as chat and text completions write them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tongwen.engine.completion import Completion
from tongwen.tokenizer.bpe import Tokenizer

LEAST = -9999.0
"""For minus infinity, which JSON cannot say."""


def text_of(tokenizer: Tokenizer, token_id: int) -> str:
    """A token by itself; bytes that are no whole character are spelled out, as OpenAI does."""
    data = tokenizer.token_bytes(token_id)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def chat_logprobs(
    tokenizer: Tokenizer,
    token_ids: Sequence[int],
    logprobs: Sequence[float],
    tops: Sequence[Mapping[int, float]] | None,
    count: int,
) -> dict[str, Any]:
    """The entries of `logprobs.content`: each token, and the `count` most probable in its place."""
    content = []
    for place, (token_id, logprob) in enumerate(zip(token_ids, logprobs, strict=True)):
        best = sorted(tops[place].items(), key=lambda one: -one[1]) if tops else []
        others = [_entry(tokenizer, *one) for one in best[:count]]
        content.append({**_entry(tokenizer, token_id, logprob), "top_logprobs": others})
    return {"content": content, "refusal": None}


def _entry(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    data = tokenizer.token_bytes(token_id)
    return {
        "token": text_of(tokenizer, token_id),
        "logprob": max(logprob, LEAST),
        "bytes": list(data),
    }


def text_logprobs(
    tokenizer: Tokenizer,
    token_ids: Sequence[int],
    logprobs: Sequence[float | None],
    tops: Sequence[Mapping[int, float] | None] | None,
    offset: int = 0,
) -> dict[str, Any]:
    """The `logprobs` of a text completion: four lists, one entry a token."""
    tokens = [text_of(tokenizer, token_id) for token_id in token_ids]
    offsets = []
    for token_id in token_ids:
        offsets.append(offset)
        offset += len(tokenizer.token_bytes(token_id).decode("utf-8", "ignore"))
    return {
        "tokens": tokens,
        "token_logprobs": [None if one is None else max(one, LEAST) for one in logprobs],
        "top_logprobs": [_by_text(tokenizer, one) for one in tops] if tops else None,
        "text_offset": offsets,
    }


def _by_text(tokenizer: Tokenizer, top: Mapping[int, float] | None) -> dict[str, float] | None:
    if top is None:
        return None
    best = sorted(top.items(), key=lambda one: -one[1])
    named: dict[str, float] = {}
    for token_id, logprob in best:
        named.setdefault(text_of(tokenizer, token_id), max(logprob, LEAST))
    return named


def prompt_logprobs(tokenizer: Tokenizer, done: Completion) -> list[dict[str, Any] | None] | None:
    """VLLM's `prompt_logprobs`: by token id the log-probability, rank and text."""
    if done.prompt_logprobs is None:
        return None
    tops = done.prompt_top_logprobs or [None] * len(done.prompt_logprobs)
    rows = zip(done.prompt_token_ids, done.prompt_logprobs, tops, strict=True)
    return [
        None if logprob is None else _ranked(tokenizer, token_id, logprob, top or {})
        for token_id, logprob, top in rows
    ]


def _ranked(
    tokenizer: Tokenizer, token_id: int, logprob: float, top: Mapping[int, float]
) -> dict[str, Any]:
    best = sorted(top.items(), key=lambda one: -one[1])
    ranks = {each: rank for rank, (each, _) in enumerate(best, 1)}
    return {
        str(each): {
            "logprob": max(value, LEAST),
            "rank": ranks.get(each),
            "decoded_token": text_of(tokenizer, each),
        }
        for each, value in {token_id: logprob, **dict(best)}.items()
    }

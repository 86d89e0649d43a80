"""OpenAI's bodies: parameters into them, completions out of them; no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from tongwen.client.client import Reply
from tongwen.engine.constraint import Choice, JsonObject, JsonSchema, Lark, Regex
from tongwen.engine.params import SamplingParams
from tongwen.errors import RequestError

_SAME_NAME = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "max_tokens",
    "min_tokens",
    "ignore_eos",
    "n",
    "best_of",
    "prompt_logprobs",
    "prompt_logprobs_from",
    "echo",
    "loop_guard",
)
_LISTS = ("stop_token_ids", "allowed_token_ids", "language_guard")
_NEUTRAL = {"top_k": 0, "repetition_penalty": 1.0, "min_p": 0.0}
_MOST_STOPS = 4

_UNFINISHED = ("error", "abort", "content_filter")
"""Reasons to end with which what was written is no answer."""

_UNSAID, _UNSAID_IN_CHAT = {"typical_p", "bad_token_ids"}, {"best_of", "echo"}


def wire_params(params: SamplingParams, *, is_chat: bool) -> dict[str, Any]:
    """Parameters as OpenAI's and vLLM's bodies have them; what is not asked for is left out.

    Raises:
        RequestError: The dialect cannot say one of them, or understands its absence otherwise.
    """
    asked = _asked(params)
    if unsaid := asked & (_UNSAID | _UNSAID_IN_CHAT if is_chat else _UNSAID):
        where = " of a conversation" if is_chat and not unsaid & _UNSAID else ""
        raise RequestError(f"`{min(unsaid)}`{where} cannot be asked for over HTTP")
    if not is_chat and params.max_tokens is None:
        raise RequestError(
            "`max_tokens` is missing: asked to continue a text, endpoints then write 16 tokens",
            hint="say how many tokens are wanted",
        )
    body = {name: getattr(params, name) for name in _SAME_NAME if name in asked}
    body |= {name: list(getattr(params, name)) for name in _LISTS if name in asked}
    if params.stop_strings:
        body["stop"] = list(params.stop_strings)
    if params.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    if params.logprobs is not None:
        chat = {"logprobs": True, "top_logprobs": params.logprobs}
        body |= chat if is_chat else {"logprobs": params.logprobs}
    return body if params.constraint is None else body | _form(params.constraint)


def plain_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body in OpenAI's words alone.

    Neutral values of other words are left unsaid, and of stop strings four are said, which is what
    OpenAI takes.
    """
    said = {
        name: value
        for name, value in body.items()
        if name not in _NEUTRAL or value != _NEUTRAL[name]
    }
    if len(stops := said.get("stop", ())) > _MOST_STOPS:
        said["stop"] = stops[:_MOST_STOPS]
    return said


def cut_at(reply: Reply, stops: Sequence[str]) -> Reply:
    """A completion up to the first of all stop strings, those too that were not said."""
    places = [place for stop in stops if (place := reply.text.find(stop)) >= 0]
    if not places:
        return reply
    return replace(reply, text=reply.text[: min(places)], finish_reason="stop", token_ids=None)


def _asked(params: SamplingParams) -> set[str]:
    """The names of what differs from the neutral."""
    neutral, names = SamplingParams(), [each.name for each in fields(SamplingParams)]
    return {name for name in names if getattr(params, name) not in (getattr(neutral, name), [])}


def _form(constraint: object) -> dict[str, Any]:
    match constraint:
        case JsonObject():
            return {"response_format": {"type": "json_object"}}
        case JsonSchema(schema):
            given = {"name": "answer", "schema": schema, "strict": True}
            return {"response_format": {"type": "json_schema", "json_schema": given}}
        case Regex(pattern):
            return {"structured_outputs": {"regex": pattern}}
        case Choice(options):
            return {"structured_outputs": {"choice": list(options)}}
        case Lark(grammar):
            return {"structured_outputs": {"grammar": grammar}}
    raise RequestError(
        f"`constraint` is {type(constraint).__name__}, which cannot be asked for over HTTP"
    )


def reply_of(choice: Mapping[str, Any], usage: Mapping[str, Any], *, echoes: bool) -> Reply:
    """A completion of a whole answer.

    Args:
        choice: One of the body's `choices`.
        usage: The body's.
        echoes: Whether the prompt was asked for too; the log-probabilities of its tokens then come
            before those that were sampled.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: The body is not OpenAI's.
    """
    text = choice["text"] if "text" in choice else choice["message"].get("content")
    if choice["finish_reason"] in _UNFINISHED:
        raise ValueError(f"a completion that ended by `{choice['finish_reason']}` is none")
    num_echoed = usage["prompt_tokens"] if echoes and choice.get("logprobs") else 0
    return Reply(
        text=text or "",
        finish_reason=choice["finish_reason"],
        token_ids=choice.get("token_ids"),
        logprobs=_logprobs(choice.get("logprobs"), num_echoed),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
    )


@dataclass(slots=True)
class Gathered:
    """A completion whose chunks come in."""

    text: str = ""
    reason: str | None = None
    """Why it ended; `None`: it has not."""

    usage: Mapping[str, Any] = field(default_factory=dict)
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Take a chunk; the text in it.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: It is not OpenAI's.
        """
        self.usage = chunk.get("usage") or self.usage
        before = len(self.text)
        for choice in chunk.get("choices") or ():
            self.text += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
            self.reason = choice.get("finish_reason") or self.reason
            if (ids := choice.get("token_ids")) is not None:
                self.token_ids = [*(self.token_ids or ()), *ids]
            if (logprobs := _logprobs(choice.get("logprobs"))) is not None:
                self.logprobs = [*(self.logprobs or ()), *logprobs]
        return self.text[before:]

    def reply(self) -> Reply:
        """The whole."""
        assert self.reason is not None, "a completion is whole when it has ended"
        return Reply(
            text=self.text,
            finish_reason=self.reason,
            token_ids=self.token_ids,
            logprobs=self.logprobs,
            prompt_tokens=self.usage.get("prompt_tokens"),
            completion_tokens=self.usage.get("completion_tokens"),
        )


def _logprobs(said: Mapping[str, Any] | None, num_echoed: int = 0) -> list[float] | None:
    """Of the sampled tokens; before them may come those of an echoed prompt, the first null."""
    if not said:
        return None
    if "content" in said:
        return [float(entry["logprob"]) for entry in said["content"] or ()]
    return [float(logprob) for logprob in said["token_logprobs"][num_echoed:]]


def message_of(data: bytes) -> str:
    """What an error's body says, in whatever shape."""
    try:
        found = json.loads(data)
    except ValueError:
        return data[:200].decode("utf-8", "replace").strip() or "nothing"
    error = found.get("error", found) if isinstance(found, dict) else found
    return str(error.get("message", error) if isinstance(error, dict) else error)[:500]

"""A model behind an OpenAI-compatible endpoint; no torch."""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import httpx2

from tongwen.client.client import Part, Prompt, Reply, is_conversation
from tongwen.engine.constraint import Choice, JsonObject, JsonSchema, Lark, Regex
from tongwen.engine.params import SamplingParams
from tongwen.errors import BusyError, ModelNotFoundError, RequestError, SourceError, TongwenError

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
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
    "echo",
    "loop_guard",
)
_LISTS = ("stop_token_ids", "allowed_token_ids", "language_guard")


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """How often something that may pass is tried again."""

    most: int = 5
    """Tries after the first."""

    first_wait_s: float = 0.5
    """Doubled each time, and spread at random; what `Retry-After` says comes before it."""

    longest_wait_s: float = 30.0
    """No wait is longer; an endpoint that asks for more is given up."""


class HttpClient:
    """Asks a model over HTTP.

    What may pass (429, 500, 502 to 504, no connection) is tried again, what is refused is not.  A
    stream is tried again only until its first piece.

    Args:
        endpoint: `http://127.0.0.1:8000` or `https://example.org/v1`.
        model: What it is called there.
        api_key: Sent as `Authorization: Bearer`.
        wants_token_ids: Ask for the sampled ids too (`return_token_ids`, of vLLM and Tongwen).
        timeout_s: Without any sign of life for so long, a try is given up.
        retries: How often to try again.
        transport: For tests of the network itself.
    """

    def __init__(
        self,
        endpoint: str,
        model: str,
        *,
        api_key: str | None = None,
        wants_token_ids: bool = False,
        timeout_s: float = 600.0,
        retries: Retries | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.endpoint, self._model = _base(endpoint), model
        self._more = {"return_token_ids": True} if wants_token_ids else {}
        self._retries = retries or Retries()
        self._http = httpx2.AsyncClient(
            headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"},
            timeout=httpx2.Timeout(timeout_s, connect=10.0),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            transport=transport,
        )

    @property
    def model(self) -> str:
        """What it is called there."""
        return self._model

    async def ask(self, prompt: Prompt, params: SamplingParams) -> list[Reply]:
        """All completions of a prompt.

        Raises:
            RequestError: The endpoint refuses it.
            ModelNotFoundError: It has no such model.
            BusyError: It was busy, also after the retries.
            SourceError: It does not answer, or not in OpenAI's dialect.
        """
        path, body = self._body(prompt, params)
        answer = await self._post(path, body)
        try:
            usage = answer.get("usage") or {}
            return [_reply(choice, usage) for choice in answer["choices"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise self._strange(answer) from error

    async def stream(self, prompt: Prompt, params: SamplingParams) -> AsyncGenerator[Part, None]:
        """One completion, piece by piece.

        Raises:
            TongwenError: As `ask`; or the stream holds an error, or breaks off.
        """
        path, body = self._body(prompt, params)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        text, reason, usage, ids = "", "", dict[str, Any](), list[int]()
        async with contextlib.aclosing(self._events(path, body)) as events:
            async for chunk in events:
                usage = chunk.get("usage") or usage
                for choice in chunk.get("choices") or ():
                    piece = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
                    reason = choice.get("finish_reason") or reason
                    ids += choice.get("token_ids") or ()
                    if piece:
                        text += piece
                        yield Part(piece)
        if not reason:
            raise SourceError(
                f"the stream of `{self.endpoint}` broke off after {len(text)} characters"
            )
        whole = {"text": text, "finish_reason": reason, "token_ids": ids or None}
        yield Part("", _reply(whole, usage))

    async def score(self, prompts: Sequence[str | Sequence[int]]) -> list[list[float | None]]:
        """Natural-log probability of each token of each prompt, by an echoed completion.

        Raises:
            TongwenError: As `ask`; or the endpoint echoes no log-probabilities.
        """
        return list(await asyncio.gather(*map(self._score, prompts)))

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def _score(self, prompt: str | Sequence[int]) -> list[float | None]:
        given = prompt if isinstance(prompt, str) else list(prompt)
        wish = {"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
        body = {"model": self.model, "prompt": given, **wish}
        answer = await self._post("/completions", body)
        try:
            found = answer["choices"][0]["logprobs"]["token_logprobs"]
            count = answer["usage"]["prompt_tokens"]
            return list(found[:count])
        except (KeyError, TypeError, IndexError) as error:
            raise self._strange(answer) from error

    # ---- one exchange

    def _body(self, prompt: Prompt, params: SamplingParams) -> tuple[str, dict[str, Any]]:
        said = wire_params(params, is_chat=is_conversation(prompt))
        body = {"model": self.model, **said, **self._more}
        if is_conversation(prompt):
            messages = [dict(cast(Mapping[str, Any], message)) for message in prompt]
            return "/chat/completions", {**body, "messages": messages}
        return "/completions", {
            **body,
            "prompt": prompt if isinstance(prompt, str) else list(cast(Sequence[int], prompt)),
        }

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a body, after as many tries as it takes."""
        for number in itertools.count():
            try:
                response = await self._http.post(self.endpoint + path, json=body)
                if response.status_code == 200:
                    return self._read(response.content)
                error = self._refusal(response.status_code, response.content)
                if response.status_code not in _AGAIN:
                    raise error
                stated = response.headers.get("retry-after")
            except httpx2.TransportError as fault:
                error = self._silent(fault)
                stated = None
            await self._wait(number, stated, error)
        raise AssertionError("counting does not end")

    async def _events(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a stream, begun after as many tries as it takes."""
        for number in itertools.count():
            has_begun = False
            try:
                async with self._http.stream("POST", self.endpoint + path, json=body) as response:
                    if response.status_code == 200:
                        async for line in response.aiter_lines():
                            if line.startswith("data:") and (said := line[5:].strip()) != "[DONE]":
                                has_begun = True
                                yield self._read(said.encode())
                        return
                    error = self._refusal(response.status_code, await response.aread())
                    if response.status_code not in _AGAIN:
                        raise error
                    stated = response.headers.get("retry-after")
            except httpx2.TransportError as fault:
                error, stated = self._silent(fault), None
                if has_begun:
                    raise error from fault
            await self._wait(number, stated, error)

    async def _wait(self, number: int, stated: str | None, error: TongwenError) -> None:
        """Wait before the next try.

        Raises:
            TongwenError: There is none.
        """
        retries = self._retries
        doubled = retries.first_wait_s * 2**number * random.uniform(0.75, 1.25)
        wait_s = min(doubled, retries.longest_wait_s)
        if stated is not None and stated.isascii() and stated.isdigit():
            wait_s = float(stated[:9])
        if number >= retries.most or wait_s > retries.longest_wait_s:
            raise error
        await asyncio.sleep(wait_s)

    def _read(self, data: bytes) -> dict[str, Any]:
        """An object of the endpoint's, which may be an error in spite of its status."""
        try:
            found = json.loads(data)
        except ValueError as error:
            raise self._strange(data[:200]) from error
        if not isinstance(found, dict):
            raise self._strange(found)
        if found.get("error"):
            raise self._refusal(500, data)
        return found

    def _refusal(self, status: int, data: bytes) -> TongwenError:
        said = _message(data)
        message = f"`{self.endpoint}` answers {status}: {said}"
        if status == 404:
            return ModelNotFoundError(message)
        if status in (429, 503):
            return BusyError(message)
        return SourceError(message) if status >= 500 else RequestError(message)

    def _silent(self, fault: Exception) -> SourceError:
        return SourceError(
            f"`{self.endpoint}` does not answer: {fault or type(fault).__name__}",
            hint="is the server running? `tongwen ps` lists those of this machine",
        )

    def _strange(self, answer: object) -> SourceError:
        return SourceError(
            f"`{self.endpoint}` does not speak OpenAI's dialect: {str(answer)[:200]!r}"
        )


def wire_params(params: SamplingParams, *, is_chat: bool) -> dict[str, Any]:
    """Parameters as OpenAI's and vLLM's bodies have them; what is not asked for is left out.

    Raises:
        RequestError: The dialect cannot say one of them.
    """
    defaults = {field.name: field.default for field in fields(SamplingParams)}
    asked = {name for name in defaults if getattr(params, name) not in (defaults[name], {}, ())}
    body = {name: getattr(params, name) for name in _SAME_NAME if name in asked}
    body |= {name: list(getattr(params, name)) for name in _LISTS if name in asked}
    if params.stop_strings:
        body["stop"] = list(params.stop_strings)
    if params.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    if params.logprobs is not None:
        chat = {"logprobs": True, "top_logprobs": params.logprobs}
        body |= chat if is_chat else {"logprobs": params.logprobs}
    if params.constraint is not None:
        body |= _form(params.constraint)
    if unsaid := asked & {"typical_p", "bad_token_ids"}:
        raise RequestError(f"`{min(unsaid)}` cannot be asked for over HTTP")
    return body


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
    raise RequestError("tools are asked for by `tools`")


def _reply(choice: Mapping[str, Any], usage: Mapping[str, Any]) -> Reply:
    text = choice["text"] if "text" in choice else choice["message"].get("content")
    return Reply(
        text=text or "",
        finish_reason=choice["finish_reason"],
        token_ids=choice.get("token_ids"),
        logprobs=_logprobs(choice.get("logprobs")),
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
    )


def _logprobs(said: Mapping[str, Any] | None) -> list[float] | None:
    if not said:
        return None
    if "content" in said:
        return [entry["logprob"] for entry in said["content"] or ()]
    return list(said["token_logprobs"])


def _message(data: bytes) -> str:
    """What an error's body says, in whatever shape."""
    try:
        found = json.loads(data)
    except ValueError:
        return data[:200].decode("utf-8", "replace").strip() or "nothing"
    error = found.get("error", found) if isinstance(found, dict) else found
    return str(error.get("message", error) if isinstance(error, dict) else error)[:500]


def _base(endpoint: str) -> str:
    """Where `/chat/completions` is appended: below `/v1`, where no other path is given."""
    url = httpx2.URL(endpoint)
    if url.scheme not in ("http", "https") or not url.host:
        raise RequestError(f"`{endpoint}` is no endpoint", hint="http://127.0.0.1:8000")
    base = str(url).rstrip("/")
    return base if url.path.strip("/") else f"{base}/v1"

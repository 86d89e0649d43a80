"""A model behind an OpenAI-compatible endpoint; no torch."""

import asyncio
import contextlib
import email.utils
import itertools
import json
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import httpx2

from tongwen.client.address import base_of, bearer, is_loopback
from tongwen.client.client import Part, Prompt, Reply, is_conversation, together
from tongwen.client.wire import Gathered, cut_at, message_of, plain_body, reply_of, wire_params
from tongwen.engine.params import SamplingParams
from tongwen.errors import BusyError, ModelNotFoundError, RequestError, SourceError, TongwenError

Result = TypeVar("Result")

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_STRANGE = (LookupError, TypeError, ValueError, AttributeError)
_EVENTS = "text/event-stream"


@dataclass(frozen=True, kw_only=True, slots=True)
class Retries:
    """How often something that may pass is tried again."""

    most: int = 5
    """Tries after the first."""

    first_wait_s: float = 0.5
    """Doubled each time, and spread at random; what `Retry-After` says comes before it."""

    longest_wait_s: float = 30.0
    """No wait is longer; an endpoint that asks for more is given up."""


class _PassingError(Exception):
    """What may pass.

    Args:
        error: What is raised where it does not.
        stated: The `Retry-After` that came with it.
    """

    def __init__(self, error: TongwenError, stated: str | None = None) -> None:
        super().__init__(error.message)
        self.error, self.stated = error, stated


class HttpClient:
    """Asks a model over HTTP.

    What may pass (429, 500, 502 to 504, no connection) is tried again, what is refused is not, nor
    an answer that is no JSON.  A stream is tried again only until its first event.

    Args:
        endpoint: `http://127.0.0.1:8000` or `https://example.org/v1`.
        model: What it is called there.
        api_key: Sent as `Authorization: Bearer`; no message holds it.
        wants_token_ids: Ask for the sampled ids too (`return_token_ids`, of vLLM and Tongwen).
        takes_starts: It is Tongwen's own, and may be told from where on a prompt is scored.
        is_foreign: It knows OpenAI's words alone: neutral values of others are left unsaid, and of
            stop strings four are sent and all of them heeded here.
        timeout_s: Without any sign of life for so long, a try is given up.
        retries: How often to try again.
        transport: For tests of the network itself.

    Raises:
        RequestError: `endpoint` is none, or `api_key` cannot be sent.
    """

    def __init__(
        self,
        endpoint: str,
        model: str,
        *,
        api_key: str | None = None,
        wants_token_ids: bool = False,
        takes_starts: bool = False,
        is_foreign: bool = False,
        timeout_s: float = 600.0,
        retries: Retries | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.endpoint, self._model, self._api_key = base_of(endpoint), model, api_key
        self._more = {"return_token_ids": True} if wants_token_ids else {}
        self._takes_starts, self._retries = takes_starts, retries or Retries()
        self._is_foreign, self._cannot_encode = is_foreign, False
        self._http = httpx2.AsyncClient(
            headers={"Content-Type": "application/json", **bearer(api_key)},
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            transport=transport,
            trust_env=not is_loopback(self.endpoint),  # proxies of the environment are for others
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
            SourceError: It does not answer, or not in OpenAI's dialect, or with fewer completions.
        """
        path, body = self._body(prompt, params)
        answer = await self._sent("POST", path, body)
        try:
            usage = answer.get("usage") or {}
            found = [reply_of(each, usage, echoes=params.echo) for each in answer["choices"]]
        except _STRANGE as error:
            raise self._strange(answer) from error
        if len(found) != params.n:
            raise SourceError(
                f"`{self.endpoint}` gives {len(found)} completions, asked for {params.n}"
            )
        stops = params.stop_strings if self._is_foreign else ()
        return [cut_at(each, stops) for each in found]

    async def stream(self, prompt: Prompt, params: SamplingParams) -> AsyncGenerator[Part, None]:
        """One completion, piece by piece.

        Raises:
            TongwenError: As `ask`; or the stream holds an error, or breaks off.
        """
        if params.num_samples > 1:
            raise RequestError(f"`n` is {params.num_samples}, but one completion can be streamed")
        path, body = self._body(prompt, params)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        whole = Gathered()
        async with contextlib.aclosing(self._events(path, body)) as events:
            async for chunk in events:
                try:
                    piece = whole.add(chunk)
                except _STRANGE as error:
                    raise self._strange(chunk) from error
                if piece:
                    yield Part(piece)
        if whole.reason is None:
            raise self._broken_off(whole)
        yield Part("", whole.reply())

    async def score(
        self, prompts: Sequence[str | Sequence[int]], starts: Sequence[int] | None = None
    ) -> list[list[float | None]]:
        """Natural-log probability of each token of each prompt, by an echoed completion.

        The endpoint writes one token, for which the context must have room.  OpenAI's dialect has
        no words for `starts`: other endpoints than Tongwen's give all.

        Raises:
            TongwenError: As `ask`; or the endpoint echoes no log-probabilities.
        """
        starts = starts or [0] * len(prompts)
        return await together(self._score, list(zip(prompts, starts, strict=True)))

    async def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, from vLLM's and our own `/tokenize`.

        Raises:
            TongwenError: As `ask`; or the endpoint has no such path.
        """
        root = self.endpoint.removesuffix("/v1")
        told: dict[str, Any] = {"model": self.model}
        if isinstance(prompt, str):
            told["prompt"] = prompt
        elif is_conversation(prompt):
            told |= _said(cast(Sequence[Mapping[str, Any]], prompt))
        else:
            return list(cast(Sequence[int], prompt))
        if self._cannot_encode:  # it is not asked again for every prompt
            raise ModelNotFoundError(f"`{self.endpoint}` tells no token ids")
        try:
            answer = await self._sent("POST", "/tokenize", told, root)
            tokens = [int(each) for each in answer["tokens"]]
        except BusyError:
            raise
        except (TongwenError, *_STRANGE) as error:
            self._cannot_encode = True
            raise ModelNotFoundError(f"`{self.endpoint}` tells no token ids") from error
        if not tokens:
            self._cannot_encode = True
            raise ModelNotFoundError(f"`{self.endpoint}` tells no token ids")
        return tokens

    async def models(self) -> list[dict[str, Any]]:
        """The models of the endpoint, as `/v1/models` describes them.

        Raises:
            TongwenError: As `ask`.
        """
        answer = await self._sent("GET", "/models", None)
        try:
            return [dict(each) for each in answer["data"]]
        except _STRANGE as error:
            raise self._strange(answer) from error

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer of one endpoint to a body as it is; a refusal is an answer too.

        Args:
            path: Below the endpoint: `/chat/completions`.
            body: In the endpoint's words.

        Raises:
            RequestError: The key is not accepted (401, 403), or the body is no JSON.
            ModelNotFoundError: There is nothing at this path.
            BusyError: It was busy, also after the retries.
            SourceError: It does not answer, or not in JSON objects.
        """
        data = _encoded(body)

        async def once() -> tuple[int, dict[str, Any]]:
            answer = await self._answer("POST", path, data)
            status, told = answer.status_code, answer.content
            if status == 200:
                return status, self._read(told, answer.headers)
            if status in (401, 403) or status in _AGAIN or not 400 <= status < 500:
                raise self._refusal(status, told, answer.headers)
            found = self._object(told)
            if status == 404 and "error" not in found:  # no refusal: there is no such path
                raise self._refusal(status, told, answer.headers)
            return status, found

        return await self._tried(once)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def _score(self, wanted: tuple[str | Sequence[int], int]) -> list[float | None]:
        prompt, start = wanted
        wish = {"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
        if self._takes_starts:
            wish |= {"logprobs": 0, "prompt_logprobs_from": start}
        body = {"model": self.model, "prompt": _plain(prompt), **wish}
        answer = await self._sent("POST", "/completions", body)
        try:
            found = list(answer["choices"][0]["logprobs"]["token_logprobs"])
            count = answer["usage"]["prompt_tokens"]
        except _STRANGE as error:
            raise self._strange(answer) from error
        if not found or found[0] is not None or len(found) < count:
            raise SourceError(f"`{self.endpoint}` echoes no log-probabilities of a prompt")
        return found[:count]

    # ---- one exchange

    def _body(self, prompt: Prompt, params: SamplingParams) -> tuple[str, dict[str, Any]]:
        is_chat = is_conversation(prompt)
        body = {"model": self.model, **wire_params(params, is_chat=is_chat), **self._more}
        body = plain_body(body) if self._is_foreign else body
        if not is_chat:
            return "/completions", {**body, "prompt": _plain(cast(str | Sequence[int], prompt))}
        said = _said(cast(Sequence[Mapping[str, Any]], prompt))
        return "/chat/completions", {**body, **said}

    async def _sent(
        self, method: str, path: str, body: Mapping[str, Any] | None, root: str | None = None
    ) -> dict[str, Any]:
        """The answer to a body, after as many tries as it takes."""
        data, place = None if body is None else _encoded(body), (root or self.endpoint) + path

        async def once() -> dict[str, Any]:
            try:
                answer = await self._http.request(method, place, content=data)
            except httpx2.RequestError as fault:
                raise self._silent(fault) from fault
            if answer.status_code != 200:
                raise self._refusal(answer.status_code, answer.content, answer.headers)
            return self._read(answer.content, answer.headers)

        return await self._tried(once)

    async def _answer(self, method: str, path: str, data: bytes | None) -> httpx2.Response:
        try:
            return await self._http.request(method, self.endpoint + path, content=data)
        except httpx2.RequestError as fault:
            raise self._silent(fault) from fault

    async def _tried(self, once: Callable[[], Awaitable[Result]]) -> Result:
        for number in itertools.count():
            try:
                return await once()
            except _PassingError as fault:
                await self._wait(number, fault)
        raise AssertionError("counting does not end")

    async def _events(
        self, path: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a stream, begun after as many tries as it takes."""
        data = _encoded(body)
        for number in itertools.count():
            has_begun = False
            try:
                async with contextlib.aclosing(self._events_once(path, data)) as events:
                    async for found in events:
                        has_begun = True
                        yield found
                return
            except _PassingError as fault:
                if has_begun:
                    raise fault.error from fault
                await self._wait(number, fault)

    async def _events_once(self, path: str, data: bytes) -> AsyncGenerator[dict[str, Any], None]:
        has_begun = False
        try:
            async with self._http.stream("POST", self.endpoint + path, content=data) as answer:
                if answer.status_code != 200:
                    raise self._refusal(answer.status_code, await answer.aread(), answer.headers)
                if not answer.headers.get("content-type", _EVENTS).startswith(_EVENTS):
                    raise self._strange(self._read(await answer.aread(), answer.headers))
                async for line in _lines(answer.aiter_bytes()):
                    if line.startswith(b"data:") and (said := line[5:].strip()) != b"[DONE]":
                        has_begun = True
                        yield self._read(said, answer.headers)
        except httpx2.RequestError as fault:
            raise self._silent(fault) from fault
        if not has_begun:
            raise _PassingError(self._broken_off(Gathered()))

    async def _wait(self, number: int, fault: _PassingError) -> None:
        """Wait before the next try.

        Raises:
            TongwenError: There is none.
        """
        retries = self._retries
        doubled = retries.first_wait_s * 2**number * random.uniform(0.75, 1.25)
        wait_s = _stated_s(fault.stated)
        if wait_s is None:
            wait_s = min(doubled, retries.longest_wait_s)
        if number >= retries.most or wait_s > retries.longest_wait_s:
            raise fault.error from fault
        await asyncio.sleep(wait_s)

    def _read(self, data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """An object of the endpoint's, which may be an error in spite of its status."""
        found = self._object(data)
        if told := found.get("error"):
            code = told.get("code") if isinstance(told, dict) else None
            is_status = isinstance(code, int) and 400 <= code < 600
            raise self._refusal(cast(int, code) if is_status else 500, data, headers)
        return found

    def _object(self, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except ValueError as error:
            raise self._strange(data[:200].decode("utf-8", "replace")) from error
        if not isinstance(found, dict):
            raise self._strange(found)
        return found

    def _refusal(self, status: int, data: bytes, headers: Mapping[str, str]) -> Exception:
        """What is raised of an error: what may pass, or the error itself."""
        message = f"`{self.endpoint}` answers {status}: {self._masked(message_of(data))}"
        kind: type[TongwenError] = SourceError if status >= 500 else RequestError
        if status == 404:
            kind = ModelNotFoundError
        elif status in (429, 503):
            kind = BusyError
        error = kind(message)
        return _PassingError(error, headers.get("retry-after")) if status in _AGAIN else error

    def _silent(self, fault: Exception) -> _PassingError:
        said = self._masked(str(fault)) or type(fault).__name__
        is_absent = isinstance(fault, httpx2.ConnectError)
        hint = "is the server running? `tongwen ps` lists those of this machine"
        return _PassingError(
            SourceError(
                f"`{self.endpoint}` does not answer: {said}", hint=hint if is_absent else None
            )
        )

    def _broken_off(self, whole: Gathered) -> SourceError:
        return SourceError(
            f"the stream of `{self.endpoint}` broke off after {len(whole.text)} characters"
        )

    def _strange(self, answer: object) -> SourceError:
        said = self._masked(" ".join(str(answer).split()))[:200]
        return SourceError(f"`{self.endpoint}` does not speak OpenAI's dialect: {said}")

    def _masked(self, text: str) -> str:
        """Text without the key, which an endpoint may repeat."""
        return text.replace(self._api_key, "...") if self._api_key else text


def _said(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A conversation as a body has it; vLLM's words for going on with a last turn."""
    said: dict[str, Any] = {"messages": [dict(each) for each in messages]}
    if said["messages"][-1].get("role") == "assistant":
        said |= {"continue_final_message": True, "add_generation_prompt": False}
    return said


def _plain(prompt: str | Sequence[int]) -> str | list[int]:
    return prompt if isinstance(prompt, str) else [int(token) for token in prompt]


def _encoded(body: Mapping[str, Any]) -> bytes:
    """JSON; a lone surrogate is escaped, for the endpoint to refuse.

    Raises:
        RequestError: It holds what JSON has not.
    """
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise RequestError(f"the request cannot be written as JSON: {error}") from error


async def _lines(parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The lines of a body, ended by a line feed alone: text may hold every other break."""
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def _stated_s(stated: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for: a number, or a date; `None`: neither."""
    if stated is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", stated):
        return float(stated)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(stated).timestamp() - time.time())
    except ValueError:
        return None

"""An answer from an endpoint: a server of this machine that has the model already, or anyone's."""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tongwen.cli.render import Sink
from tongwen.client.client import Prompt, Reply
from tongwen.client.endpoint import describe
from tongwen.client.http import HttpClient, Retries
from tongwen.engine.params import SamplingParams
from tongwen.errors import ConfigError, TongwenError
from tongwen.server.running import Running, running_servers

_PATIENCE_S, _PROBE_S = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class Remote:
    """A model behind an endpoint."""

    url: str
    name: str
    api_key: str | None = field(default=None, repr=False)
    speaks_ids: bool | None = None
    """Whether sampled ids may be asked for; `None`: it is asked what it is."""

    def answer(self, prompt: Prompt, params: SamplingParams, sink: Sink | None) -> dict[str, Any]:
        """Have a prompt answered, each piece going to `sink`; what `--json` prints.

        Raises:
            TongwenError: It cannot be answered.
        """
        return asyncio.run(self._answer(prompt, params, sink))

    async def _answer(
        self, prompt: Prompt, params: SamplingParams, sink: Sink | None
    ) -> dict[str, Any]:
        wants_ids = await self._tells_ids() if self.speaks_ids is None else self.speaks_ids
        client = HttpClient(self.url, self.name, api_key=self.api_key, wants_token_ids=wants_ids)
        asked_s, first_s, reply = time.perf_counter(), 0.0, None
        try:
            async with contextlib.aclosing(client.stream(prompt, params)) as parts:
                async for part in parts:
                    first_s = first_s or time.perf_counter()
                    reply = part.reply
                    if sink is not None:
                        sink.push(part.text)
        finally:
            if sink is not None:
                sink.finish()
            await client.close()
        assert reply is not None, "a stream that does not fail ends with the whole"
        return _to_json(reply, first_s - asked_s, time.perf_counter() - first_s)

    async def _tells_ids(self) -> bool:
        """Whether the endpoint is of a kind that does; one that says nothing of itself is not."""
        client = HttpClient(
            self.url,
            self.name,
            api_key=self.api_key,
            timeout_s=_PROBE_S,
            retries=Retries(most=0),
        )
        try:
            return (await describe(client, self.name)).speaks_ids
        except TongwenError:
            return False
        finally:
            await client.close()


def turns_of(text: str, system: str | None) -> Prompt:
    """A question as a conversation."""
    told = [] if system is None else [{"role": "system", "content": system}]
    return [*told, {"role": "user", "content": text}]


def _to_json(reply: Reply, ttft_s: float, decode_s: float) -> dict[str, Any]:
    written = reply.completion_tokens
    is_timed = written is not None and written > 1 and decode_s > 0
    return {
        "text": reply.text,
        "token_ids": reply.token_ids,
        "finish_reason": reply.finish_reason,
        "usage": {"prompt_tokens": reply.prompt_tokens, "completion_tokens": written},
        "timings": {
            "load_s": 0.0,
            "ttft_s": ttft_s,
            "decode_tokens_per_s": ((written or 0) - 1) / decode_s if is_timed else None,
        },
    }


def key_of(environ: Mapping[str, str], name: str | None) -> str | None:
    """The key that an environment variable holds.

    Raises:
        ConfigError: It is not set.
    """
    if name is None:
        return None
    if not environ.get(name):
        raise ConfigError(f"the environment variable `{name}` (`--api-key-env`) is not set")
    return environ[name]


def find_remote(home: Path, model: str) -> Remote | None:
    """A server of this machine that has the model in memory and would answer as a model loaded now.

    It asks for no key, and serves the model with the weights, context and sampling defaults that it
    has where nobody says otherwise.

    Args:
        home: The store.
        model: A name of the store, or where the model lies; what others call it counts for nothing.
    """
    for running in running_servers(home):
        if running.needs_key:
            continue
        for found in models_of(running):
            is_same = found.get("root") == model and found.get("is_default")
            if is_same and found.get("is_loaded") and found.get("is_chat"):
                return Remote(running.url, found["id"], speaks_ids=True)
    return None


def models_of(running: Running) -> Sequence[dict[str, Any]]:
    """The models of a server; none where it does not answer."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{running.url}/v1/models", timeout=_PATIENCE_S) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]
            return found
    except (OSError, ValueError, KeyError, TongwenError):
        return []

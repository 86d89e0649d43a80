"""An answer from a server that runs on this machine and has the model in memory already."""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongwen.cli.render import Sink
from tongwen.client.client import Prompt, Reply
from tongwen.client.http import HttpClient
from tongwen.engine.params import SamplingParams
from tongwen.errors import TongwenError
from tongwen.server.running import Running, running_servers

_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Remote:
    """A model of a running server."""

    running: Running
    name: str
    is_chat: bool

    def answer(
        self, text: str, system: str | None, params: SamplingParams, sink: Sink | None
    ) -> dict[str, Any]:
        """Have a question answered, each piece going to `sink`; what `--json` prints.

        Raises:
            TongwenError: It cannot be answered.
        """
        told = [] if system is None else [{"role": "system", "content": system}]
        prompt = [*told, {"role": "user", "content": text}]
        return asyncio.run(self._answer(prompt, params, sink))

    async def _answer(
        self, prompt: Prompt, params: SamplingParams, sink: Sink | None
    ) -> dict[str, Any]:
        client = HttpClient(self.running.url, self.name, wants_token_ids=True)
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


def _to_json(reply: Reply, ttft_s: float, decode_s: float) -> dict[str, Any]:
    written = reply.completion_tokens
    return {
        "text": reply.text,
        "token_ids": reply.token_ids,
        "finish_reason": reply.finish_reason,
        "usage": {"prompt_tokens": reply.prompt_tokens, "completion_tokens": written},
        "timings": {
            "load_s": 0.0,
            "ttft_s": ttft_s,
            "decode_tokens_per_s": (written - 1) / decode_s if written > 1 else None,
        },
    }


def find_remote(home: Path, name: str) -> Remote | None:
    """A server of this machine that has the model in memory and asks for no key."""
    for running in running_servers(home):
        if running.needs_key:
            continue
        for model in models_of(running):
            if model["id"] == name and model.get("is_loaded"):
                return Remote(running, name, bool(model.get("is_chat")))
    return None


def models_of(running: Running) -> Sequence[dict[str, Any]]:
    """The models of a server; none where it does not answer."""
    try:
        with urllib.request.urlopen(f"{running.url}/v1/models", timeout=_PATIENCE_S) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]
            return found
    except (OSError, ValueError, KeyError, TongwenError):
        return []

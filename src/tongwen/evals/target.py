"""From a model's name to a client that reaches it, and to what a receipt says of it."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

from tongwen.checkpoint.load import Weights
from tongwen.client.client import Client
from tongwen.client.endpoint import Described, describe
from tongwen.client.http import HttpClient
from tongwen.client.local import LocalClient
from tongwen.engine.llm import LLM
from tongwen.evals.subject import Subject, subject_here, subject_there


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A model in this process, or one behind an endpoint."""

    model: str | Path | LLM | None
    """A name, a directory, a `.gguf` file, or one that is in memory; `None`: the only one of the
    endpoint."""

    weights: Weights = "auto"
    device: str = "auto"
    context: int | None = None
    home: Path | None = None
    endpoint: str | None = None
    """Anyone's OpenAI-compatible server; `None`: here."""

    api_key: str | None = field(default=None, repr=False)
    is_chat: bool | None = None
    """Whether it is asked in turns; `None`: as it was trained, behind foreign endpoints: yes."""


@contextlib.asynccontextmanager
async def opened(target: Target) -> AsyncGenerator[tuple[Client, Subject], None]:
    """A client of a model, and who that is; closed with the context.

    Raises:
        TongwenError: It is not there, or cannot be loaded.
    """
    client, subject = _here(target) if target.endpoint is None else await _there(target)
    try:
        yield client, subject
    finally:
        await client.close()


def _here(target: Target) -> tuple[Client, Subject]:
    llm = target.model
    if not isinstance(llm, LLM):
        llm = LLM(
            llm or "",
            weights=target.weights,
            device=target.device,
            context=target.context,
            home=target.home,
        )
    return LocalClient(llm), subject_here(llm, is_chat=target.is_chat)


async def _there(target: Target) -> tuple[Client, Subject]:
    assert target.endpoint is not None, "a model elsewhere has an address"
    name = None if target.model is None else str(target.model)
    probe = HttpClient(target.endpoint, name or "", api_key=target.api_key)
    try:
        found = await describe(probe, name)
    finally:
        await probe.close()
    client = HttpClient(
        target.endpoint,
        found.name,
        api_key=target.api_key,
        wants_token_ids=found.speaks_ids,
        takes_starts=found.is_tongwen,
        is_foreign=not found.speaks_ids,
    )
    is_chat = _trained_for_turns(found) if target.is_chat is None else target.is_chat
    return client, subject_there(found, client.endpoint, is_chat=is_chat)


def _trained_for_turns(found: Described) -> bool:
    return True if found.is_chat is None else found.is_chat

"""A server from its settings to its end."""

import asyncio
import dataclasses
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial

from tongwen.checkpoint.derived import CREATED, Derived, DerivedModels
from tongwen.checkpoint.store import Store
from tongwen.errors import ConfigError, TongwenError
from tongwen.server.bases import may_be_base
from tongwen.server.config import DerivedEntry, ModelEntry, ServeConfig
from tongwen.server.facts import Look
from tongwen.server.keys import Keys
from tongwen.server.listen import HttpServer, address_of, bind
from tongwen.server.pool import ModelPool
from tongwen.server.running import Running, note_running
from tongwen.server.served import Served
from tongwen.server.service import Service

Load = Callable[[ModelEntry], Served]

log = logging.getLogger(__name__)


def make_service(config: ServeConfig, store: Store, load: Load, look: Look) -> Service:
    """The models and keys of a server.

    Args:
        config: The settings.
        store: The models on this machine.
        load: Brings one into memory.
        look: Reads what the files of one say.

    Raises:
        ConfigError: A key's environment variable is not set.
    """
    pool = ModelPool(
        partial(entries_of, config, store),
        load,
        keep_alive_s=config.keep_alive_s,
        max_loaded=max(config.max_loaded, len(config.models)),
    )
    return Service(config, pool, Keys(config.keys, os.environ), store, look)


def entries_of(config: ServeConfig, store: Store) -> Sequence[ModelEntry]:
    """What is served: the models that were named, or all of the store, and what derives from them.

    A derived model is served as its base is: the same weights, context and time in memory.
    """
    entries = list(config.models) or [
        ModelEntry(model=local.name) for local in store.list() if local.source != CREATED
    ]
    derived = [_derived_entry(config, entries, each) for each in DerivedModels(store.home).list()]
    return [*entries, *(each for each in derived if each is not None)]


def _derived_entry(
    config: ServeConfig, entries: Sequence[ModelEntry], derived: Derived
) -> DerivedEntry | None:
    """The entry of a derived model; `None` where its base is not served, or its name is taken."""
    if any(derived.name in entry.names for entry in entries):
        return None
    base = next((each for each in entries if derived.base in (each.model, *each.names)), None)
    if base is not None:
        facts = {one.name: getattr(base, one.name) for one in dataclasses.fields(base)}
        return DerivedEntry(**{**facts, "aliases": (derived.name,)}, derived=derived)
    if config.models or not may_be_base(derived.base, config.allow_dirs):
        return None
    return DerivedEntry(model=derived.base, aliases=(derived.name,), derived=derived)


def serve(
    config: ServeConfig,
    store: Store,
    load: Load,
    look: Look,
    *,
    read_again: Callable[[], ServeConfig],
    say: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        config: The settings.
        store: The models.
        load: Brings one into memory.
        look: Reads what the files of one say.
        read_again: Reads the settings again; their keys are taken at SIGHUP.
        say: Tells whoever started the server.

    Raises:
        ConfigError: The address cannot be listened on, or a key is not set.
        TongwenError: A model that was named cannot be loaded.
    """
    if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to read again
    service = make_service(config, store, load, look)
    listening = bind(config)
    address = address_of(config, listening)
    server = HttpServer(service, partial(_reload, service, read_again))
    note = note_running(store.home, Running(os.getpid(), address, bool(config.keys)))
    try:
        with listening:
            asyncio.run(_run(service, server, listening, address, say))
    finally:
        note.unlink(missing_ok=True)


async def _run(
    service: Service,
    server: HttpServer,
    listening: socket.socket,
    address: str,
    say: Callable[[str], None],
) -> None:
    for entry in service.config.models:
        say(f"loading {entry.names[0]} ...")
        await service.pool.preload(entry.names[0])
    names = [name for entry in service.pool.entries() for name in entry.names]
    served = ", ".join(names) if names else "no model yet (`tongwen pull`)"
    say(f"serving {served}")
    say(f"at {address} (OpenAI, Ollama, Anthropic); chat at {address}/")
    await server.serve([listening])


def _reload(service: Service, read_again: Callable[[], ServeConfig]) -> None:
    """Take the keys as they are set now; where that fails, those before stay."""
    try:
        keys = read_again().keys
        if service.keys and not keys:
            raise ConfigError("no key is set any more; a server does not open by a reload")
        service.keys.load(keys, os.environ)
        log.info("keys are read again")
    except TongwenError as error:
        log.error("keys stay as they were: %s", error)

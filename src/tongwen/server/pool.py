"""Models that come into memory when they are asked for, and go when nobody has for a while."""

import asyncio
import contextlib
import difflib
import gc
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import NamedTuple

from tongwen.errors import BusyError, CapacityError, ModelNotFoundError
from tongwen.server.config import DerivedEntry, ModelEntry
from tongwen.server.served import Served

log = logging.getLogger(__name__)

_LOOKS_EVERY_S, _PATIENCE_S = 0.2, 60.0


class Listed(NamedTuple):
    """A model that can be asked for, as it was listed when its name was looked up."""

    entry: ModelEntry
    host: ModelEntry
    """The entry under which its weights are in memory."""


class ModelPool:
    """The models of a server.

    Args:
        entries: Under which names there are which models; asked anew each time.
        load: Brings one into memory; is called in a thread, one at a time.
        keep_alive_s: How long one stays after its last use; negative: for ever.
        max_loaded: How many may be in memory; the one unused for longest goes.
    """

    def __init__(
        self,
        entries: Callable[[], Sequence[ModelEntry]],
        load: Callable[[ModelEntry], Served],
        *,
        keep_alive_s: float = 300.0,
        max_loaded: int = 3,
    ) -> None:
        self._entries, self._load = entries, load
        self._keep_alive_s, self._max_loaded = keep_alive_s, max_loaded
        self._served: dict[str, Served] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._waiting: Counter[str] = Counter()
        self._lock = asyncio.Lock()

    def entries(self) -> list[ModelEntry]:
        """All that can be asked for."""
        return list(self._entries())

    def entry(self, name: str) -> ModelEntry:
        """The entry of a name.

        Raises:
            ModelNotFoundError: There is none; the nearest are named.
        """
        return self.look_up(name).entry

    def look_up(self, name: str) -> Listed:
        """What a name means; all entries are read for it, from the disk: once is enough.

        Raises:
            ModelNotFoundError: There is none; the nearest are named.
        """
        entries = self.entries()
        entry = _named(name, entries)
        return Listed(entry, _host(entry, entries))

    def loaded(self) -> list[Served]:
        """Models in memory."""
        return list(self._served.values())

    @property
    def is_loading(self) -> bool:
        """Whether one is on its way into memory."""
        return bool(self._loading)

    @contextlib.asynccontextmanager
    async def lease(
        self, name: str | Listed, keep_alive_s: float | None = None
    ) -> AsyncIterator[Served]:
        """A model that stays in memory for as long as this lasts, and a while after.

        Args:
            name: As callers write it, or looked up.
            keep_alive_s: How long, in place of what the entry or the server says.

        Raises:
            ModelNotFoundError: There is no such model.
            TongwenError: It cannot be loaded.
        """
        listed = self._listed(name)
        served = await self._take(listed.host)
        try:
            yield served.under(listed.entry)
        finally:
            served.num_users -= 1
            if not served.is_leaving:
                self._touch(served, keep_alive_s)
            if served.until <= time.monotonic():
                self._drop_unused()

    async def preload(self, name: str) -> None:
        """Bring a model into memory before anybody asks for it.

        Raises:
            TongwenError: It cannot be loaded.
        """
        async with self.lease(name):
            pass

    def unload(self, name: str | Listed) -> bool:
        """Let a model go as soon as nobody uses it; whether it was in memory."""
        served = self._served.get(self._listed(name).host.names[0])
        if served is None:
            return False
        served.until, served.is_leaving = 0.0, True
        self._drop_unused()
        return True

    async def keep_watch(self) -> None:
        """Let models go whose time is over, until cancelled."""
        while True:
            await asyncio.sleep(_LOOKS_EVERY_S)
            self._drop_unused()

    async def close(self) -> None:
        """Let all models go, whoever uses them."""
        for task in list(self._loading.values()):
            task.cancel()
        served, self._served = list(self._served.values()), {}
        for each in served:
            await asyncio.to_thread(each.close)

    def _listed(self, name: str | Listed) -> Listed:
        return self.look_up(name) if isinstance(name, str) else name

    async def _take(self, entry: ModelEntry) -> Served:
        """A model in memory, loaded if need be, one user more.

        Whoever stops waiting does not stop the loading.
        """
        key = entry.names[0]
        self._waiting[key] += 1  # so that it does not go between its loading and its first user
        try:
            while key not in self._served:
                if key not in self._loading:
                    task = asyncio.create_task(self._bring(entry))
                    self._loading[key] = task
                    task.add_done_callback(lambda done: self._settle(key, done))
                await asyncio.shield(self._loading[key])
            served = self._served[key]
            served.num_users += 1
            return served
        finally:
            self._waiting[key] -= 1

    async def _bring(self, entry: ModelEntry) -> None:
        async with self._lock:
            await self._find_room()
            try:
                served = await asyncio.to_thread(self._load, entry)
            except CapacityError:
                if not self._make_room(0):
                    raise
                served = await asyncio.to_thread(self._load, entry)
            self._served[served.name] = served
            self._touch(served, None)
            log.info("`%s` is in memory", served.name)

    async def _find_room(self) -> None:
        """Wait until one more model may come into memory.

        Raises:
            BusyError: As many as may be are in use for too long.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            self._make_room(self._max_loaded - 1)
            if len(self._served) < self._max_loaded:
                return
            if time.monotonic() > deadline:
                raise BusyError(f"{len(self._served)} models are in use, more may not be loaded")
            await asyncio.sleep(_LOOKS_EVERY_S)

    def _settle(self, key: str, done: "asyncio.Task[None]") -> None:
        del self._loading[key]
        if not done.cancelled():
            done.exception()  # whoever waits is told; where nobody does, it is no fault

    def _touch(self, served: Served, keep_alive_s: float | None) -> None:
        """Count from now how long a model stays."""
        choices = (keep_alive_s, served.entry.keep_alive_s, self._keep_alive_s)
        seconds = next(each for each in choices if each is not None)
        served.until = math.inf if seconds < 0 else time.monotonic() + seconds

    def _drop_unused(self) -> None:
        now = time.monotonic()
        self._drop([each for each in self._idle() if each.until <= now])

    def _idle(self) -> list[Served]:
        """Models that nobody uses or waits for, the one unused for longest first."""
        idle = (s for s in self.loaded() if not s.num_users and not self._waiting[s.name])
        return sorted(idle, key=lambda each: each.until)

    def _make_room(self, num_kept: int) -> bool:
        """Let unused models go, the one unused for longest first; whether any went."""
        idle = self._idle()
        surplus = max(len(self._served) - num_kept, 0)
        self._drop(idle[:surplus])
        return bool(idle[:surplus])

    def _drop(self, some: Iterable[Served]) -> None:
        for served in some:
            del self._served[served.name]
            served.close()
            log.info("`%s` has left memory", served.name)
        if some:
            gc.collect()


def _named(name: str, entries: Sequence[ModelEntry]) -> ModelEntry:
    known = {each: entry for entry in entries for each in entry.names}
    if name in known:
        return known[name]
    if name.removesuffix(":latest") in known:  # how Ollama's clients spell a bare name
        return known[name.removesuffix(":latest")]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)[:5]
    there_are = ", ".join(f"`{each}`" for each in near)
    raise ModelNotFoundError(
        f"model `{name}` is not served here" + (f"; there is {there_are}" if near else "")
    )


def _host(entry: ModelEntry, entries: Sequence[ModelEntry]) -> ModelEntry:
    """The entry under which its weights are in memory: the first that loads the same."""
    if not isinstance(entry, DerivedEntry):
        return entry
    return next((each for each in entries if each.loads == entry.loads), entry)

"""Who is next: requests that wait, by priority, fair among callers.  Plain Python."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Queued(Protocol):
    """What the queue needs to know of a request."""

    priority: int
    caller: str

    @property
    def num_tokens(self) -> int:
        """Tokens that it has."""
        ...


T = TypeVar("T", bound=Queued)


class FairQueue(Generic[T]):
    """Waiting requests: the lowest `priority` first, within it the caller served least.

    At each priority every caller has a clock that counts the tokens of its requests that were
    taken; the one whose clock is furthest behind is next, and within a caller the first that came.
    Someone who was away starts at the clock of the callers that wait, so nobody saves up turns
    (start-time fair queueing, Goyal et al., 1996).  Whoever is put back goes before all of its own
    priority.
    """

    def __init__(self) -> None:
        self._returned: dict[int, deque[T]] = {}
        self._callers: dict[tuple[int, str], deque[T]] = {}
        self._clocks: dict[tuple[int, str], int] = {}

    def __len__(self) -> int:
        return sum(map(len, (*self._returned.values(), *self._callers.values())))

    def __iter__(self) -> Iterator[T]:
        for queue in (*self._returned.values(), *self._callers.values()):
            yield from queue

    def add(self, request: T) -> None:
        """Queue a new request."""
        key = request.priority, request.caller
        if key not in self._callers:
            present = [self._clocks[other] for other in self._callers if other[0] == key[0]]
            self._clocks[key] = max(self._clocks.get(key, 0), min(present, default=0))
        self._callers.setdefault(key, deque()).append(request)

    def put_back(self, request: T) -> None:
        """Queue a request that had begun, before all others of its priority."""
        self._returned.setdefault(request.priority, deque()).appendleft(request)

    def first(self) -> T | None:
        """Whose turn it is."""
        queue = self._next()
        return None if queue is None else queue[0]

    def pop(self) -> T:
        """Take the one whose turn it is; its caller's clock moves on, but not twice for one."""
        queue = self._next()
        assert queue is not None, "nobody waits"
        request = queue.popleft()
        key = request.priority, request.caller
        if queue is self._callers.get(key):
            self._clocks[key] = self._clocks.get(key, 0) + request.num_tokens
        self._tidy()
        return request

    def discard(self, request: T) -> None:
        """Forget a request that waits here; others are not disturbed."""
        for queue in (*self._returned.values(), *self._callers.values()):
            kept = [other for other in queue if other is not request]
            if len(kept) < len(queue):
                queue.clear()
                queue.extend(kept)
        self._tidy()

    def _next(self) -> deque[T] | None:
        priorities = {*self._returned, *(priority for priority, _ in self._callers)}
        if not priorities:
            return None
        best = min(priorities)
        if best in self._returned:
            return self._returned[best]
        here = [key for key in self._callers if key[0] == best]
        return self._callers[min(here, key=self._clocks.__getitem__)]

    def _tidy(self) -> None:
        """Drop empty queues, and the clocks where nobody waits: they mean nothing then."""
        self._returned = {key: queue for key, queue in self._returned.items() if queue}
        self._callers = {key: queue for key, queue in self._callers.items() if queue}
        busy = {priority for priority, _ in self._callers}
        self._clocks = {key: clock for key, clock in self._clocks.items() if key[0] in busy}

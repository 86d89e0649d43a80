"""One connection of a client, which must say in time what it wants."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Connection(H11Protocol):
    """HTTP/1.1 on one socket; closed where no whole head of a request arrives in time.

    uvicorn itself has a time for the pause between two requests only, and forgets it at the first
    byte of the next.

    Args:
        head_s: Seconds for a head, from the beginning of the connection or of a later head.
        given: What uvicorn hands to a protocol.
    """

    def __init__(self, head_s: float, **given: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(**given)
        self._head_s = head_s
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that is still not whole keeps the time that it has."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        else:
            self._forget_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._forget_head()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head_timer is None and not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self._head_s, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

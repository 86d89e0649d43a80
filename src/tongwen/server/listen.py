"""The server's process: sockets, signals, and an end in which nobody is cut off."""

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from tongwen.errors import ConfigError
from tongwen.server.app import create_app
from tongwen.server.config import ServeConfig
from tongwen.server.connection import Connection
from tongwen.server.service import Service

_ENDS = (signal.SIGINT, signal.SIGTERM)
_PROXIES = ["127.0.0.1", "::1"]  # on this machine they say for whom they ask; elsewhere nobody may
_BACKLOG = 2048  # who comes while a model is being loaded waits; nobody is turned away


class HttpServer(uvicorn.Server):
    """Serves until SIGTERM or Ctrl-C, then lets running requests finish.

    Args:
        service: The server's.
        reload: Called at SIGHUP.
    """

    def __init__(self, service: Service, reload: Callable[[], None] | None = None) -> None:
        config = service.config
        super().__init__(
            uvicorn.Config(
                create_app(service),
                http=partial(Connection, config.limits.head_s),  # type: ignore[arg-type]
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                forwarded_allow_ips=_PROXIES,
                lifespan="on",
                ssl_certfile=_text(config.tls_cert),
                ssl_keyfile=_text(config.tls_key),
                timeout_graceful_shutdown=max(int(config.limits.drain_s), 1),
                timeout_keep_alive=75,
                h11_max_incomplete_event_size=64 << 10,
            )
        )
        self._service, self._reload = service, reload

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals that end a server; they do not kill the process afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self.handle_exit) for each in _ENDS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take no more requests."""
        self._service.is_draining = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen; from now on SIGHUP reloads."""
        if self._reload is not None and sys.platform != "win32":
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        await super().startup(sockets)


def bind(config: ServeConfig) -> socket.socket:
    """The socket that a server listens on.

    Raises:
        ConfigError: The address is taken, or none of this machine's.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # Said in full: asyncio sends small parts at once (TCP_NODELAY) on sockets that say they are
    # TCP, and on others each answer waits 40 ms for the client to confirm its head.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {config.host}:{config.port}: {error.strerror or error}",
            hint="`--port` chooses another port; `tongwen ps` lists running servers",
        ) from error
    return listening


def address_of(config: ServeConfig, listening: socket.socket) -> str:
    """What a client writes to reach a server."""
    scheme = "http" if config.tls_cert is None else "https"
    host = config.host if config.host not in ("0.0.0.0", "::", "") else "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{listening.getsockname()[1]}"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)

"""What every request passes before any handler sees it, and every answer on its way out.

    id ─► Host, Origin ─► key ─► size and time of the body ─► handler ─► time of each send

Plain ASGI: nothing here holds a stream back.
"""

import asyncio
import ipaddress
import logging
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tongwen.server.config import Limits, ServeConfig
from tongwen.server.errors import ApiError
from tongwen.server.keys import Caller, Keys
from tongwen.server.metrics import Metrics

log = logging.getLogger("tongwen.server.access")

OPEN_PATHS = frozenset({"/", "/health", "/ready", "/ping", "/version", "/api/version"})
"""What may be asked without a key: nothing that costs or tells much."""

ADMIN_PATHS = ("/api/pull", "/api/create", "/api/copy", "/api/delete", "/api/blobs/")
"""What changes the store."""

FILES = "/api/blobs/"
"""Below it bodies are files of models, which are large and take their time."""

_ID = re.compile(r"[\x21-\x7e]{1,128}")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Door:
    """Looks at requests before the handlers do.

    Args:
        app: The handlers.
        config: What the server was told.
        keys: Who may ask.
        metrics: Counts answers.
        write_error: How the dialect of a path writes an error.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        config: ServeConfig,
        keys: Keys,
        metrics: Metrics,
        write_error: Callable[[str, ApiError], Mapping[str, Any]],
    ) -> None:
        self._app, self._keys, self._metrics = app, keys, metrics
        self._limits, self._write_error = config.limits, write_error
        self._hosts = frozenset(_allowed_hosts(config))
        self._origins = frozenset(config.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        scope["request_id"] = asked if _ID.fullmatch(asked) else secrets.token_hex(16)
        answer = _Answer(scope, send, self._limits.send_s)
        try:
            self._check(scope, headers)
            body = _Body(receive, self._limits, headers, is_file=scope["path"].startswith(FILES))
            await self._app(scope, body.receive, answer.send)
        except ApiError as error:
            if not answer.has_begun:
                await self._refuse(error, scope, receive, answer.send)
        finally:
            self._note(scope, answer)

    def _check(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        self._check_host(headers.get("host", ""))
        self._check_origin(headers, is_admin=path.startswith(ADMIN_PATHS))
        is_local = _is_loopback(scope)
        is_open = path in OPEN_PATHS or path.startswith("/page/")
        is_preflight = scope["method"] == "OPTIONS"
        scope["caller"] = Caller("", is_admin=False)
        if not is_open and not is_preflight:
            scope["caller"] = self._keys.caller(_key_of(headers), is_local=is_local)
        if path.startswith(ADMIN_PATHS) and not (is_local or scope["caller"].is_admin):
            raise ApiError(
                403, f"`{path}` is for callers on this machine, or with an admin key", "forbidden"
            )

    def _check_host(self, host: str) -> None:
        """Refuse names that are not this server's: a page's name that was rebound to us."""
        name = _host_name(host)
        if name.lower() not in self._hosts and not _is_address(name):
            raise ApiError(
                403,
                f"`{visible(host)}` is no name of this server; `hosts` lists names",
                "forbidden",
            )

    def _check_origin(self, headers: Headers, *, is_admin: bool) -> None:
        """Refuse pages of other addresses, unless they are named; no other page changes the store.

        Pages of other ports of this machine are other pages too: a browser would send them what
        may be sent without asking first.
        """
        origin = headers.get("origin")
        if origin is None or origin.partition("://")[2] == headers.get("host"):
            return
        is_named = "*" in self._origins or origin in self._origins
        if is_admin or not is_named:
            raise ApiError(
                403,
                f"pages of `{visible(origin)}` may not ask here; `origins` lists who may",
                "forbidden",
            )

    async def _refuse(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        error.request_id = scope["request_id"]
        response = JSONResponse(
            self._write_error(scope["path"], error), error.status, dict(error.headers)
        )
        response.headers["Connection"] = "close"  # whatever of the body is still to come
        await response(scope, receive, send)

    def _note(self, scope: Scope, answer: "_Answer") -> None:
        route = scope.get("route")
        path = "other" if route is None else route.path
        self._metrics.count_answer(path, answer.status)
        log.info(
            "%s %s %s %s %d %.0f ms",
            scope["request_id"],
            scope["caller"].name if "caller" in scope and scope["caller"].name else "-",
            scope["method"],
            visible(scope["path"]),
            answer.status,
            1e3 * (time.perf_counter() - answer.begun),
        )


class _Body:
    """A request's body, not too long and not too slow."""

    def __init__(
        self, receive: Receive, limits: Limits, headers: Headers, *, is_file: bool
    ) -> None:
        self._receive, self._limits, self._is_file = receive, limits, is_file
        self._size, self._is_whole = 0, False
        self._most_bytes = limits.blob_bytes if is_file else limits.body_bytes
        self._deadline = asyncio.get_running_loop().time() + limits.body_s
        stated = headers.get("content-length", "")
        if stated.isascii() and stated.isdigit() and int(stated[:20]) > self._most_bytes:
            raise _too_large(self._most_bytes)

    async def receive(self) -> Message:
        """The next part; after the last, that the client has left.

        Raises:
            ApiError: It is too large (413), or comes too slowly (408).
        """
        if self._is_whole:
            return await self._receive()
        if self._is_file:
            self._deadline = asyncio.get_running_loop().time() + self._limits.body_s
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            said = f"the body did not arrive within {self._limits.body_s:g} s"
            raise ApiError(408, said, "request_timeout") from None
        self._size += len(message.get("body", b""))
        if self._size > self._most_bytes:
            raise _too_large(self._most_bytes)
        self._is_whole = not message.get("more_body", False)
        return message


class _Answer:
    """What goes out: with an id, and given up where nobody reads it."""

    def __init__(self, scope: Scope, send: Send, send_s: float) -> None:
        self._scope, self._send, self._send_s = scope, send, send_s
        self.begun, self.status = time.perf_counter(), 499  # the client left before an answer

    @property
    def has_begun(self) -> bool:
        """Whether the head is sent."""
        return self.status != 499

    async def send(self, message: Message) -> None:
        """Send a part.

        Raises:
            OSError: Nobody has read for too long.
        """
        if message["type"] == "http.response.start":
            self.status = message["status"]
            head = MutableHeaders(scope=message)
            for name in ("X-Request-Id", "Request-Id"):  # OpenAI's clients read one, Anthropic's
                head[name] = self._scope["request_id"]  # the other
        try:
            async with asyncio.timeout(self._send_s):
                await self._send(message)
        except TimeoutError:
            raise OSError(f"nobody has read for {self._send_s:g} s") from None


def _too_large(most_bytes: int) -> ApiError:
    said = f"the body is larger than {most_bytes} bytes"
    return ApiError(413, said, "request_too_large")


def _key_of(headers: Headers) -> str | None:
    """What stands in `Authorization: Bearer` or `X-Api-Key`."""
    kind, _, key = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    return headers.get("x-api-key") or None


def _allowed_hosts(config: ServeConfig) -> Iterable[str]:
    yield from (*_LOOPBACK, config.host.lower(), socket.gethostname().lower())
    yield from (host.lower() for host in config.hosts)


def _host_name(host: str) -> str:
    """A `Host` without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _is_address(name: str) -> bool:
    """Whether this is a number: no name that could be bound to another."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    if client is None:  # a socket of this machine's file system
        return True
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def visible(text: str, most: int | None = 200) -> str:
    """Text with control characters spelled out, so that it is one line of a log.

    Args:
        text: Whatever somebody sent.
        most: Characters that are shown; `None`: all.
    """
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:most])

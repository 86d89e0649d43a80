"""An endpoint that answers as it is told to, byte for byte."""

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DROPPED = b""
"""The connection ends without an answer."""


@dataclass
class StandIn:
    """What it was asked, and what it answers: one after the other, the last for ever."""

    answers: Sequence[bytes]
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def take(self, head: str, body: bytes) -> bytes:
        """Note a request; its answer."""
        self.heads.append(head)
        self.bodies.append(json.loads(body) if body else {})
        return self.answers[min(len(self.heads), len(self.answers)) - 1]


def answered(
    status: int, body: bytes | Mapping[str, Any], kind: str = "application/json", **headers: str
) -> bytes:
    """An answer whose body is sent at once."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{more}"
    return f"{head}Connection: close\r\n\r\n".encode() + data


def text(said: str = "yes", **more: object) -> dict[str, Any]:
    """A whole completion of a text."""
    choice = {"index": 0, "text": said, "finish_reason": "stop", **more}
    return {"choices": [choice], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}


def streamed(*events: Mapping[str, Any] | bytes, is_cut: bool = False) -> bytes:
    """A chunked answer of server-sent events; cut off in the middle of a chunk, or whole."""
    data = b""
    for each in events:
        said = each if isinstance(each, bytes) else json.dumps(each, ensure_ascii=False).encode()
        line = b"data: " + said + b"\n\n"
        data += f"{len(line):x}\r\n".encode() + line + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    end = b"40\r\nda" if is_cut else b"0\r\n\r\n"
    return head + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + data + end


def piece(said: str, reason: str | None = None) -> dict[str, Any]:
    """An event with text."""
    return {"choices": [{"index": 0, "text": said, "finish_reason": reason}]}


@contextlib.contextmanager
def serving(take: Callable[[str, bytes], bytes]) -> Iterator[str]:
    """A port of its own, where `take` answers the head and the body of each request; its URL."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                if not (line := self.rfile.readline()):
                    return
                head += line
            length = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
            body = self.rfile.read(int(length[0].partition(b":")[2])) if length else b""
            self.wfile.write(take(head.decode(), body))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def standing_in(*answers: bytes) -> Iterator[StandIn]:
    """An endpoint that gives these answers."""
    stand_in = StandIn(answers)
    with serving(stand_in.take) as stand_in.url:
        yield stand_in

"""Follows one sandbox from its start to its end, and ends it when a limit is passed."""

import json
import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import psutil

from tongwen.errors import SandboxError
from tongwen.judge import host
from tongwen.judge.limits import Limits
from tongwen.judge.outcome import EndedBy, Outcome

_LOOK_S = 0.1
_END_S = 10.0
_PIECE = 1 << 16


class Stop:
    """Tells the thread that follows a sandbox to end it; may be set from any thread."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def set(self) -> None:
        """End it."""
        os.eventfd_write(self._event, 1)

    def fileno(self) -> int:
        """Becomes readable once set."""
        return self._event

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._event)


@dataclass(slots=True)
class _Kept:
    """What came out of one pipe, up to a limit."""

    limit: int
    data: bytearray = field(default_factory=bytearray)
    is_over: bool = False

    def add(self, piece: bytes) -> None:
        """Keep what fits."""
        fits = self.limit - len(self.data)
        self.data += piece[:fits]
        self.is_over |= len(piece) > fits


class Watch:
    """One sandbox, followed.

    Args:
        argv: The command that makes the sandbox.
        stdin: What the program reads.
        handed: Descriptors that the command needs.
        status: Where the sandbox tells the number of its first process and, at its end, how the
            program ended; the reading end of a pipe.
        owner: The user that the program runs as, so that it can open its pipes again; `None`
            where that is us.
        limits: Its bounds.
        stop: Ends it early.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        stdin: int,
        handed: Sequence[int],
        status: int,
        owner: int | None,
        limits: Limits,
        stop: Stop,
    ) -> None:
        self._limits, self._stop = limits, stop
        self._status, self._written = status, bytearray()
        self._first: int | None = None
        self._first_end: int | None = None
        self._ended_by: EndedBy | None = None
        self._out, self._err = _Kept(limits.output_bytes), _Kept(limits.output_bytes)
        self._started = self._looked = time.monotonic()
        with ExitStack() as ends:
            read, written = zip(*(_pipe(owner, ends) for _ in range(2)), strict=True)
            self._process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=written[0],
                stderr=written[1],
                pass_fds=handed,
                env=host.ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
            self._ends = [os.dup(end) for end in read]
        self._end = os.pidfd_open(self._process.pid)

    def follow(self) -> Outcome:
        """Wait for the end.

        Raises:
            SandboxError: The sandbox itself could not be made, or did not end.
        """
        try:
            with selectors.DefaultSelector() as selector:
                self._register(selector)
                while not self._step(selector):
                    pass
            self._drain()
        finally:
            self._close()
        return self._outcome()

    def _register(self, selector: selectors.BaseSelector) -> None:
        takers: list[tuple[int, Callable[[bytes], None]]] = [
            (self._ends[0], self._out.add),
            (self._ends[1], self._err.add),
            (self._status, self._told),
        ]
        for descriptor, take in takers:
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ, take)
        selector.register(self._end, selectors.EVENT_READ)
        selector.register(self._stop, selectors.EVENT_READ)

    def _step(self, selector: selectors.BaseSelector) -> bool:
        """Wait a little, read, look at the limits; true at the end of the sandbox."""
        left = self._started + self._limits.wall_s - time.monotonic()
        ready = {key.fd: key.data for key, _ in selector.select(max(0.0, min(left, _LOOK_S)))}
        for descriptor, take in ready.items():
            if take is not None and not _read(descriptor, take):
                selector.unregister(descriptor)
        if self._end in ready:
            return True
        if (passed := self._passed(is_stopped=self._stop.fileno() in ready)) is not None:
            self._kill(passed)
            return True
        return False

    def _passed(self, *, is_stopped: bool) -> EndedBy | None:
        """The limit that is passed, if one is."""
        now = time.monotonic()
        if is_stopped:
            return "stop"
        if self._out.is_over or self._err.is_over:
            return "output"
        if now - self._started >= self._limits.wall_s:
            return "time"
        if self._first is not None and now - self._looked >= _LOOK_S:
            self._looked = now
            return held(self._first, self._limits)
        return None

    def _told(self, piece: bytes) -> None:
        """Read what the sandbox says of itself; its first process is known by its number here."""
        self._written += piece
        if self._first is None and (first := self._said("child-pid")) is not None:
            self._first = first
            with suppress(ProcessLookupError):
                self._first_end = os.pidfd_open(first)

    def _said(self, name: str) -> int | None:
        for line in bytes(self._written).splitlines(keepends=True):
            if line.endswith(b"\n") and name in (said := json.loads(line)):
                return int(said[name])
        return None

    def _kill(self, ended_by: EndedBy) -> None:
        """Say why the sandbox ends now; `_close` ends it."""
        self._ended_by = ended_by
        if self._first_end is None:
            self._process.kill()

    def _end_first(self) -> None:
        """End the first process of the sandbox, if it lives, and with it all others.

        The kernel ends those, and lets the first one go only when they are gone.

        Raises:
            SandboxError: It lives on.
        """
        if self._first_end is None:
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._first_end, signal.SIGKILL)
        ended, _, _ = select.select([self._first_end], [], [], _END_S)
        os.close(self._first_end)
        if not ended:
            raise SandboxError(f"a sandbox lives {_END_S:g} s after it was killed")

    def _drain(self) -> None:
        """Read what was written just before the end."""
        for descriptor, take in zip(self._ends, (self._out.add, self._err.add), strict=True):
            while self._ended_by is None and _read(descriptor, take, is_last=True):
                pass
        while _read(self._status, self._told, is_last=True):
            pass

    def _close(self) -> None:
        try:
            self._end_first()
            # It sees its child's end and ends, too.
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            raise SandboxError("what made a sandbox does not end") from None
        finally:
            self._process.kill()
            self._process.wait()
            for descriptor in (*self._ends, self._end):
                os.close(descriptor)

    def _outcome(self) -> Outcome:
        status = self._said("exit-code")
        if self._ended_by is None and status is None:
            line = bytes(self._err.data).decode("utf-8", "replace").strip().splitlines()
            raise SandboxError(
                f"the sandbox could not be made: {line[-1] if line else 'no reason'}"
            )
        is_over = self._out.is_over or self._err.is_over
        ended_by = self._ended_by or ("output" if is_over else "exit")
        return Outcome(
            status=status if ended_by == "exit" else None,
            stdout=bytes(self._out.data),
            stderr=bytes(self._err.data),
            is_truncated=is_over,
            wall_s=time.monotonic() - self._started,
            ended_by=ended_by,
        )


def _pipe(owner: int | None, ends: ExitStack) -> tuple[int, int]:
    """Both ends of a pipe, closed with `ends`."""
    read, written = os.pipe()
    ends.callback(os.close, read)
    ends.callback(os.close, written)
    if owner is not None:
        os.fchown(written, owner, owner)
    return read, written


def _read(descriptor: int, take: Callable[[bytes], None], *, is_last: bool = False) -> bool:
    """Hand one piece over; false at the end of the pipe, and where `is_last` when it is empty."""
    try:
        piece = os.read(descriptor, _PIECE)
    except BlockingIOError:
        return not is_last
    take(piece)
    return bool(piece)


def held(first: int, limits: Limits) -> EndedBy | None:
    """The limit that its memory or its files pass, looked at from outside.

    Args:
        first: The first process of the sandbox.
        limits: Its bounds.
    """
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        used = 0
        for process in psutil.Process(first).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                used += process.memory_info().rss
        if used > limits.memory_bytes:
            return "memory"
    for name in (host.WORKPLACE, "/dev/shm"):
        with suppress(OSError):
            place = f"/proc/{first}/root{name}"
            # Until the sandbox is made, its first process still sees this machine's own.
            is_own = os.stat(place).st_dev != os.stat(name).st_dev
            seen = os.statvfs(place)
            if is_own and seen.f_files - seen.f_ffree > limits.num_files:
                return "files"
    return None

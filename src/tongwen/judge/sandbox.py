"""Runs programs of strangers in isolation, many at a time; where that is not to be had, refuses."""

import asyncio
import fcntl
import os
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Literal, get_args

from tongwen.errors import SandboxError
from tongwen.judge import bubblewrap, namespaces
from tongwen.judge.outcome import Outcome
from tongwen.judge.program import Program
from tongwen.judge.watch import Stop, Watch

Kind = Literal["bubblewrap", "namespaces"]
"""Who isolates: bubblewrap, or this package with the kernel's namespaces themselves."""

_FIRST_UID, _NUM_UIDS = 0x70000000, 1 << 24


class Sandbox:
    """A place where programs run without network, without the user's files, within limits.

    What every program finds: the system's programs and libraries and this Python's standard
    library, read-only; an empty `/tmp` of bounded size, its working directory; processes, network
    and host name of its own; an environment of four names.  Run by root, each program is a user
    of its own with no rights.

    Args:
        kind: Who isolates; where not given bubblewrap if it works here, else namespaces.
        slots: Programs at one time; as many as there are processors where not given.

    Raises:
        SandboxError: No isolation works on this machine.
    """

    def __init__(self, kind: Kind | None = None, *, slots: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(
            slots or len(os.sched_getaffinity(0)), thread_name_prefix="sandbox"
        )
        self.kind, self._command = _first_that_works([kind] if kind else list(get_args(Kind)))

    def run(self, program: Program) -> Outcome:
        """Run a program, after those that wait already.

        Raises:
            SandboxError: The sandbox could not be made.
        """
        with closing(Stop()) as stop:
            future = self._pool.submit(_run, self._command, program, stop)
            try:
                return future.result()
            finally:
                stop.set()
                if not future.cancel():
                    wait([future])

    async def arun(self, program: Program) -> Outcome:
        """Run a program, after those that wait already; cancelling ends it and all it started.

        Raises:
            SandboxError: The sandbox could not be made.
        """
        with closing(Stop()) as stop:
            future = self._pool.submit(_run, self._command, program, stop)
            waiter = asyncio.wrap_future(future)
            try:
                return await asyncio.shield(waiter)
            finally:
                stop.set()
                while not (future.done() or future.cancel()):
                    with suppress(asyncio.CancelledError):
                        await asyncio.wait([waiter])

    def close(self) -> None:
        """Wait for the programs that run, and let the threads go."""
        self._pool.shutdown()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_Command = Callable[..., list[str]]


def _first_that_works(kinds: list[Kind]) -> tuple[Kind, _Command]:
    """Try to run nothing in a sandbox of each kind.

    Raises:
        SandboxError: None works; the message says why each does not.
    """
    reasons = []
    for kind in kinds:
        try:
            command = _command(kind)
            with closing(Stop()) as stop:
                outcome = _run(command, Program(argv=["true"]), stop)
        except (SandboxError, OSError) as error:
            reasons.append(f"{kind}: {error}")
            continue
        if outcome.is_success:
            return kind, command
        reasons.append(f"{kind}: {outcome.complaint or outcome.ended_by}")
    raise SandboxError(
        f"programs cannot be run in isolation here ({'; '.join(reasons)}), so none is run",
        hint="install bubblewrap: `pip install 'tongwen[sandbox]'` or `apt-get install bubblewrap`",
    )


def _command(kind: Kind) -> _Command:
    if sys.platform != "linux":
        raise SandboxError(f"it needs Linux, and this is `{sys.platform}`")
    if kind == "namespaces":
        return namespaces.command
    found = bubblewrap.find()
    if found is None:
        raise SandboxError("not installed")
    return partial(bubblewrap.command, found)


def _run(command: _Command, program: Program, stop: Stop) -> Outcome:
    """Run one program in this thread; it ends with the thread, whatever happens."""
    uid = _FIRST_UID + secrets.randbelow(_NUM_UIDS) if os.geteuid() == 0 else None
    handed: list[int] = []
    with ExitStack() as open_files:

        def hand(data: bytes) -> int:
            handed.append(_sealed(data))
            open_files.callback(os.close, handed[-1])
            return handed[-1]

        stdin, (read, written) = hand(program.stdin), os.pipe()
        open_files.callback(os.close, read)
        open_files.callback(os.close, written)
        argv = command(program, uid=uid, status=written, hand=hand)
        watch = Watch(
            argv,
            stdin=stdin,
            handed=[*handed[1:], written],
            status=read,
            owner=uid,
            limits=program.limits,
            stop=stop,
        )
        return watch.follow()


def _sealed(data: bytes) -> int:
    """A file in memory that nobody can write to."""
    descriptor = os.memfd_create("given", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor

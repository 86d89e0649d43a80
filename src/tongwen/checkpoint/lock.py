"""A lock between processes that the operating system frees when its holder dies.

`flock` on POSIX, `msvcrt.locking` on Windows; both end with the process, by `kill -9` too.  Where
neither module can be imported a file created exclusively stands in, held by a process id: it is
taken over when that process is gone.  Lock files stay: another process may be waiting on one.
"""

import contextlib
import importlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

_POLL_S = 0.05


@contextlib.contextmanager
def locked(path: Path, *, why: str = "") -> Iterator[None]:
    """Hold the lock at `path`, waiting for it as long as another process holds it.

    Args:
        path: The lock file, made if missing; its directory is made too.
        why: What is waited for, logged once if there is a wait.

    Raises:
        OSError: The file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    take, free = _kind()
    descriptor = take(path)
    if descriptor is None and why:
        log.warning("another process is busy with %s; waiting for it", why)
    while descriptor is None:
        time.sleep(_POLL_S)
        descriptor = take(path)
    try:
        yield
    finally:
        free(path, descriptor)


@contextlib.contextmanager
def try_locked(path: Path) -> Iterator[bool]:
    """Hold the lock at `path` if nobody else does, without waiting; whether it is held.

    Args:
        path: The lock file, made if missing; its directory is made too.

    Raises:
        OSError: The file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    take, free = _kind()
    descriptor = take(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            free(path, descriptor)


Take = Callable[[Path], int | None]
Free = Callable[[Path, int], None]


def _kind() -> tuple[Take, Free]:
    for module, pair in (
        ("fcntl", (_take_fcntl, _free_fcntl)),
        ("msvcrt", (_take_msvcrt, _free_msvcrt)),
    ):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
            return pair
    return _take_file, _free_file


def _take_fcntl(path: Path) -> int | None:
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks: waiting would not end
        os.close(descriptor)
        raise
    return descriptor


def _free_fcntl(_path: Path, descriptor: int) -> None:
    os.close(descriptor)


def _take_msvcrt(path: Path) -> int | None:
    msvcrt = importlib.import_module("msvcrt")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _free_msvcrt(_path: Path, descriptor: int) -> None:
    msvcrt = importlib.import_module("msvcrt")
    os.lseek(descriptor, 0, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    os.close(descriptor)


def _take_file(path: Path) -> int | None:
    holder = path.with_name(path.name + ".holder")
    try:
        descriptor = os.open(holder, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        _drop_dead(holder)
        return None
    os.write(descriptor, str(os.getpid()).encode())
    os.fsync(descriptor)
    return descriptor


def _free_file(path: Path, descriptor: int) -> None:
    os.close(descriptor)
    path.with_name(path.name + ".holder").unlink()


def _drop_dead(holder: Path) -> None:
    """Remove `holder` if the process it names is gone, or if it has named none for a minute."""
    try:
        written, age_s = holder.read_text(), time.time() - holder.stat().st_mtime
    except FileNotFoundError:
        return
    gone = not _is_alive(int(written)) if written.isdigit() else age_s > 60
    if gone:
        # Two waiters may both see a dead holder: only the one whose rename succeeds removes it.
        grave = holder.with_name(f"{holder.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            holder.rename(grave)
            grave.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

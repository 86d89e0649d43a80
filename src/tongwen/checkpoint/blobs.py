"""The bytes of the store: whole files under their digest, and those still arriving.

    blobs/sha256-<hex>       whole and verified; shared by all names that contain it
    partial/sha256-<hex>     arriving; whoever holds its lock appends to it
    partial/<folder>/        one pull's own: its plan (the digests it wants) and scratch
    locks/                   see `lock.py`

A file becomes a blob by one rename after its digest was verified, so a blob is never half there.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tongwen.checkpoint.lock import locked
from tongwen.errors import CapacityError

_PLAN = "plan.json"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

MARGIN_BYTES = 64 * 1024 * 1024
"""Room that a pull leaves on the disk."""


class Blobs:
    """Content-addressed files below `home`; makes directories when they are first needed."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def path(self, sha256: str) -> Path:
        """Where the whole file with this digest lies, or would."""
        return self.home / "blobs" / f"sha256-{sha256}"

    def partial(self, sha256: str) -> Path:
        """Where the file with this digest arrives."""
        return self._made("partial") / f"sha256-{sha256}"

    def scratch(self, folder: str) -> Path:
        """A directory of the pull of `folder` alone, which `forget` removes."""
        return self._made("partial", folder)

    def lock(self, key: str, why: str = "") -> AbstractContextManager[None]:
        """The lock named `key`, shared by all processes that use this store."""
        return locked(self.home / "locks" / f"{key}.lock", why=why)

    def has(self, sha256: str, size_bytes: int) -> bool:
        """Whether the blob is there, with its size."""
        path = self.path(sha256)
        return path.is_file() and path.stat().st_size == size_bytes

    def adopt(self, arrived: Path, sha256: str) -> None:
        """Make `arrived`, whose digest its caller has verified, the blob `sha256`."""
        self._made("blobs")
        os.replace(arrived, self.path(sha256))

    def all(self) -> dict[str, Path]:
        """Every blob by its digest."""
        found = (self.home / "blobs").glob("sha256-*")
        return {path.name.removeprefix("sha256-"): path for path in found}

    def plan(self, folder: str, digests: Iterable[str]) -> None:
        """State which blobs the pull of `folder` wants, so that no one deletes them meanwhile."""
        write_whole(self.scratch(folder) / _PLAN, json.dumps(sorted(digests)))

    def planned(self) -> set[str]:
        """Digests wanted by pulls that have not ended; one that was killed wants its own still."""
        return {d for plan in (self.home / "partial").glob(f"*/{_PLAN}") for d in _read_plan(plan)}

    def forget(self, folder: str, *, partials: bool) -> None:
        """Remove the scratch and plan of the pull of `folder`, and what it has partly fetched."""
        scratch = self.home / "partial" / folder
        if partials:
            for digest in _read_plan(scratch / _PLAN):
                for path in (self.partial(digest), etag_path(self.partial(digest))):
                    path.unlink(missing_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)

    def free_bytes(self) -> int:
        """Free space on the disk of the store."""
        self.home.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.home).free

    def _made(self, *parts: str) -> Path:
        directory = self.home.joinpath(*parts)
        with full_disk_is_said(directory):
            directory.mkdir(parents=True, exist_ok=True)
        return directory


def etag_path(partial: Path) -> Path:
    """Where the ETag under which `partial` arrives is kept."""
    return partial.with_name(partial.name + ".etag")


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path` so that a reader, or a crash, sees all of it or none."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
    with full_disk_is_said(path):
        try:
            scratch.write_text(text, encoding="utf-8")
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk_is_said(path: Path, wanted_bytes: int | None = None) -> Iterator[None]:
    """Turn a full disk met while writing `path` into an error that says so.

    Raises:
        CapacityError: No space, over quota, or too large for the file system.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        wanted = f" ({wanted_bytes} bytes)" if wanted_bytes else ""
        raise CapacityError(
            f"cannot write `{path}`{wanted}: {os.strerror(error.errno or 0)};"
            f" {_free(path)} bytes are free",
            hint="free some space, or set TONGWEN_HOME to a larger disk",
        ) from error


def _free(path: Path) -> int:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _read_plan(plan: Path) -> list[str]:
    try:
        return [str(digest) for digest in json.loads(plan.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []

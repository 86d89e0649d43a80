"""Packed weights kept on the disk: laid out once, mapped at every start after that.

    packed/<digest>.safetensors      one checkpoint, packed in one way

A file begins with a header that says all that its bytes follow from: which files were packed, in
which version of the layout, and every matrix with its format and place.  Its name is the digest of
that header.  Whoever wants packed weights knows the header that they must have, so nothing in a
file is believed: it is used if it begins with exactly this header, has exactly the size that
follows from it, and the first 4 KiB of every matrix have the checksum that was noted when they
were written.  That finds files that were cut short, overwritten or never reached the disk, in
milliseconds; a bit that flips in the middle of a matrix it does not find.

No tensors in here: deleting and listing needs no torch.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tongwen.checkpoint.lock import locked
from tongwen.checkpoint.manifest import MANIFEST, read_manifest
from tongwen.errors import CheckpointError

log = logging.getLogger(__name__)

Bytes = memoryview | bytes

_FORM = "1"
_PAGE = 4_096  # the header is filled up to a whole number of these
_CHECKSUM = 4
_MAX_HEADER_BYTES = 64 << 20
_UNUSED_S, _ABANDONED_S = 30 * 86_400, 86_400
_SPARE_BYTES = 2 << 30


class Matrix(NamedTuple):
    """One packed matrix."""

    name: str
    format: str
    rows: int
    columns: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a file of packed weights is to hold."""

    sources: tuple[str, ...]
    """Identities of the files that are packed; see `identity`."""

    layout_version: int
    """Of the panels."""

    matrices: tuple[Matrix, ...]
    slack_bytes: int
    """After the last matrix; kernels read ahead."""

    @cached_property
    def header(self) -> bytes:
        """The beginning of the file, as the safetensors format has it."""
        places: dict[str, Any] = {
            "__metadata__": {
                "tongwen_form": _FORM,
                "tongwen_layout": str(self.layout_version),
                "tongwen_sources": json.dumps(self.sources),
                "tongwen_matrices": json.dumps([each[1:4] for each in self.matrices]),
            }
        }
        at = 0
        sizes = [(each.name, each.num_bytes) for each in self.matrices]
        for name, size in (
            *sizes,
            ("checksums", self._checksum_bytes),
            ("slack", self.slack_bytes),
        ):
            places[name] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(places, separators=(",", ":")).encode()
        padded = text.ljust(math.ceil((8 + len(text)) / _PAGE) * _PAGE - 8)
        return len(padded).to_bytes(8, "little") + padded

    @property
    def digest(self) -> str:
        """What the file is called."""
        return hashlib.sha256(self.header).hexdigest()

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return self.checksums_at + self._checksum_bytes + self.slack_bytes

    @property
    def checksums_at(self) -> int:
        """Where the checksums begin: after the last matrix."""
        return len(self.header) + sum(each.num_bytes for each in self.matrices)

    def starts(self) -> Iterator[tuple[Matrix, int]]:
        """Each matrix with its first byte's place in the file."""
        at = len(self.header)
        for each in self.matrices:
            yield each, at
            at += each.num_bytes

    @property
    def _checksum_bytes(self) -> int:
        return _CHECKSUM * len(self.matrices)


class Kept:
    """The packed weights below `home`.

    Args:
        home: The store's directory.
        least_bytes: What is smaller is packed as fast as it is found.
    """

    def __init__(self, home: Path, *, least_bytes: int = 64 << 20) -> None:
        self.home, self.directory, self.least_bytes = home, home / "packed", least_bytes

    def identity(self, path: Path) -> str:
        """What tells a file from any other, and from itself before it was changed.

        Of a file of the store, its digest.  Of others, the path, the size, and when the contents
        and the file itself were last changed: the latter no ordinary program can set.
        """
        found = path.stat()
        if path.parent.parent == self.home / "models":
            for file in read_manifest(path.parent / MANIFEST).files:
                if file.name == path.name and file.size_bytes == found.st_size:
                    return f"sha256-{file.sha256}"
        return json.dumps(
            [str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        )

    def find(self, contents: Contents) -> Path | None:
        """The file with these contents, checked; it counts as used now."""
        path = self._path(contents)
        fault = _fault(path, contents)
        if fault is None:
            with contextlib.suppress(OSError):
                os.utime(path)
            return path
        if fault:
            log.warning("packed weights in `%s` are damaged (%s); packing again", path, fault)
        return None

    def write(self, contents: Contents, pieces: Iterable[Bytes]) -> Path | None:
        """Write a file from its matrices' bytes in turn, unless another process does so first.

        It appears whole or not at all, and only where the disk has ample room: as much again as
        it takes, and 2 GiB.

        Returns:
            Where it lies; `None`: it is not kept, and where that is due to a fault, it is said.
        """
        if contents.num_bytes < self.least_bytes:
            return None
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.directory).free < 2 * contents.num_bytes + _SPARE_BYTES:
                log.info("no room to keep packed weights in `%s`", self.directory)
                return None
            lock = self.home / "locks" / f"packed-{contents.digest}.lock"
            with locked(lock, why="packing the same weights"):
                if _fault(self._path(contents), contents) is None:  # another process was first
                    return self._path(contents)
                return self._write(contents, pieces)
        except OSError as error:
            log.warning(
                "packed weights cannot be kept in `%s` (%s); every start packs them again",
                self.directory,
                error.strerror,
            )
            return None

    def prune(self, layout_version: int = 0) -> int:
        """Delete what is of no more use; returns how many bytes that frees.

        That is what was made of files that are gone or have changed, was not used for 30 days, or
        was being written when its process died.

        Args:
            layout_version: What is of an older one goes too.
        """
        freed = 0
        for path in self.files():
            with contextlib.suppress(OSError):  # Windows keeps what is mapped
                found = path.stat()
                if self._is_stale(path, time.time() - found.st_mtime, layout_version):
                    path.unlink()
                    freed += found.st_size
        return freed

    def files(self) -> list[Path]:
        """All files, whole or being written."""
        return sorted(self.directory.glob("*.safetensors")) + sorted(self.directory.glob("*.new"))

    def size_bytes(self) -> int:
        """What they take."""
        return sum(path.stat().st_size for path in self.files())

    def _path(self, contents: Contents) -> Path:
        return self.directory / f"{contents.digest}.safetensors"

    def _write(self, contents: Contents, pieces: Iterable[Bytes]) -> Path | None:
        self.prune(contents.layout_version)
        path = self._path(contents)
        scratch = path.with_suffix(".new")
        try:
            with scratch.open("wb") as file:
                file.write(contents.header)
                for piece in pieces:
                    file.write(piece)
            _seal(scratch, contents)
            if not all(map(self._is_there, contents.sources)):
                return None  # they were changed meanwhile: what was packed is neither old nor new
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
        log.info("packed weights are kept in `%s`", path)
        return path

    def _is_stale(self, path: Path, age_s: float, layout_version: int) -> bool:
        if path.suffix == ".new":
            return age_s > _ABANDONED_S
        if age_s > _UNUSED_S:
            return True
        try:
            said = _metadata(path)
            sources = json.loads(said["tongwen_sources"])
            is_older = int(said["tongwen_layout"]) < layout_version
            return is_older or not all(map(self._is_there, sources))
        except (OSError, ValueError, KeyError, TypeError, CheckpointError):
            return True

    def _is_there(self, source: str) -> bool:
        if source.startswith("sha256-"):
            return (self.home / "blobs" / source).is_file()
        return self.identity(Path(json.loads(source)[0])) == source


def _fault(path: Path, contents: Contents) -> str | None:
    """What keeps a file from being these contents; nothing is said of one that is not there."""
    try:
        with path.open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) != contents.num_bytes:
                return f"{size} bytes in place of {contents.num_bytes}"
            if file.read(len(contents.header)) != contents.header:
                return "another header"
            file.seek(contents.checksums_at)
            noted = file.read(_CHECKSUM * len(contents.matrices))
            return None if noted == _checksums(file, contents) else "a checksum differs"
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return str(error.strerror)


def _checksums(file: BinaryIO, contents: Contents) -> bytes:
    """Of the first bytes of every matrix."""
    found = []
    for matrix, at in contents.starts():
        file.seek(at)
        found.append(zlib.crc32(file.read(min(_PAGE, matrix.num_bytes))))
    return b"".join(checksum.to_bytes(_CHECKSUM, "little") for checksum in found)


def _seal(path: Path, contents: Contents) -> None:
    """Add to header and matrices what comes after them."""
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        assert file.tell() == contents.checksums_at, "pieces are as long as their matrices"
        noted = _checksums(file, contents)
        file.seek(contents.checksums_at)
        file.write(noted + bytes(contents.slack_bytes))
        file.flush()
        os.fsync(file.fileno())  # the name must not reach the disk before what it names


def _metadata(path: Path) -> dict[str, str]:
    """What a file's header says about it."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        metadata: dict[str, str] = json.loads(file.read(length))["__metadata__"]
    return metadata

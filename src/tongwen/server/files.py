"""Files that callers keep on the server: below `files/` of the store, each known to its owner only.

files/<id>         what it holds
files/<id>.json    its name, purpose and owner; written last, so that a file is never half there
"""

import json
import os
import re
import secrets
import shutil
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from tongwen.checkpoint.blobs import full_disk_is_said, write_whole
from tongwen.server.errors import ApiError
from tongwen.server.notes import Notes

_ID = re.compile(r"file-[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A file that somebody keeps."""

    id: str
    owner: str
    """Of which key; empty where no keys are set."""

    filename: str
    """As its owner calls it; never a path here."""

    purpose: str
    num_bytes: int
    created_ns: int
    """Since 1970."""

    def as_object(self) -> dict[str, object]:
        """As OpenAI writes it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.num_bytes,
            "created_at": self.created_ns // 10**9,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
        }


class Files:
    """The files below a directory.

    Args:
        directory: Made when the first is kept.
        most_bytes: How much one owner may keep.
        most_files: How many.
    """

    def __init__(self, directory: Path, most_bytes: int, most_files: int) -> None:
        self._directory, self._most_bytes, self._most_files = directory, most_bytes, most_files
        self._notes = Notes(directory, "file-", _read)
        self._adding = threading.Lock()  # two at once would both find room

    def add(self, owner: str, filename: str, purpose: str, data: BinaryIO) -> Kept:
        """Keep what `data` holds.

        Raises:
            ApiError: The owner would keep too much (413), or too many (400).
            CapacityError: The disk is full.
        """
        size = data.seek(0, os.SEEK_END)
        data.seek(0)
        with self._adding:
            self._check_room(owner, size)
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            file_id = new_file_id()
            with full_disk_is_said(self._directory), self._path(file_id).open("xb") as file:
                shutil.copyfileobj(data, file)
            return self._note(file_id, owner, filename, purpose)

    def adopt(self, path: Path, owner: str, filename: str, purpose: str, file_id: str) -> None:
        """Keep a copy of a file of the server's own; done twice it is done once.

        Raises:
            CapacityError: The disk is full.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with full_disk_is_said(self._directory):
            shutil.copyfile(path, self._path(file_id))
        if not self._notes.path(file_id).exists():
            self._note(file_id, owner, filename, purpose)

    def list(self, owner: str) -> list[Kept]:
        """The files of an owner, the newest first."""
        found = [kept for kept in self._notes.all() if kept.owner == owner]
        return sorted(found, key=lambda kept: kept.created_ns, reverse=True)

    def find(self, owner: str, file_id: str) -> Kept:
        """One of them.

        Raises:
            ApiError: The owner has none of this id (404).
        """
        kept = self._notes.find(file_id) if _ID.fullmatch(file_id) else None
        if kept is None or kept.owner != owner:
            raise ApiError(404, f"there is no file `{file_id[:64]}`", "not_found", "file_id")
        return kept

    def path(self, kept: Kept) -> Path:
        """Where its bytes lie."""
        return self._path(kept.id)

    def delete(self, owner: str, file_id: str) -> None:
        """Delete one.

        Raises:
            ApiError: The owner has none of this id (404).
        """
        kept = self.find(owner, file_id)
        self._notes.path(kept.id).unlink(missing_ok=True)
        self._path(kept.id).unlink(missing_ok=True)

    def _check_room(self, owner: str, size: int) -> None:
        kept = self.list(owner)
        if len(kept) >= self._most_files:
            said = f"{len(kept)} files are kept, of at most {self._most_files}; delete some"
            raise ApiError(400, said, "too_many_files", "file")
        held = sum(each.num_bytes for each in kept)
        if held + size > self._most_bytes:
            said = f"{held} bytes are kept, {size} more would pass {self._most_bytes}; delete some"
            raise ApiError(413, said, "storage_exceeded", "file")

    def _note(self, file_id: str, owner: str, filename: str, purpose: str) -> Kept:
        kept = Kept(
            id=file_id,
            owner=owner,
            filename=filename,
            purpose=purpose,
            num_bytes=self._path(file_id).stat().st_size,
            created_ns=time.time_ns(),
        )
        write_whole(self._notes.path(file_id), json.dumps(asdict(kept)))
        return kept

    def _path(self, file_id: str) -> Path:
        return self._directory / file_id


def new_file_id() -> str:
    """An id that nobody guesses."""
    return f"file-{secrets.token_hex(16)}"


_KEPT = TypeAdapter(Kept)


def _read(note: Path) -> Kept:
    kept = _KEPT.validate_json(note.read_bytes(), strict=True)
    if kept.id != note.stem:
        raise ValueError(f"it is about `{kept.id}`")
    if not note.with_suffix("").is_file():
        raise ValueError("what it is about is not there")
    return kept

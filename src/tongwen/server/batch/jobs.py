"""Batches of the server: notes on the disk, so that another process can go on with them.

batches/<id>.json         what is told of it, and whose it is; written by whoever runs it
batches/<id>.in           its rows, a copy: the caller's file may go meanwhile
batches/<id>.out, .err    answers and errors so far
batches/<id>.cancel       there, where its owner has cancelled it
batches/<id>.lock         held by the process that runs it
"""

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic_core
from pydantic import BaseModel, ConfigDict, TypeAdapter

from tongwen.checkpoint.blobs import full_disk_is_said, write_whole
from tongwen.server.errors import ApiError
from tongwen.server.files import new_file_id
from tongwen.server.notes import Notes

_ID = re.compile(r"batch_[0-9a-f]{32}")
_DAY_S = 86_400

ENDED = frozenset({"failed", "completed", "expired", "cancelled"})
"""Statuses after which nothing is done."""


@dataclass(frozen=True, slots=True)
class Job:
    """A batch."""

    owner: str
    """Of which key; empty where no keys are set."""

    output_file_id: str
    """What its answers will be called when it has ended."""

    error_file_id: str
    batch: dict[str, Any]
    """As OpenAI writes it."""

    @property
    def id(self) -> str:
        """Of the batch."""
        return str(self.batch["id"])

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to do."""
        return self.batch["status"] in ENDED


class Jobs:
    """The batches below a directory.

    Args:
        directory: Made with the first.
        most_open: How many of one owner may be waiting or running.
    """

    def __init__(self, directory: Path, most_open: int) -> None:
        self._directory, self._most_open = directory, most_open
        self._notes = Notes(directory, "batch_", _read)
        self._adding = threading.Lock()  # two at once would both find room

    def add(self, owner: str, given: Mapping[str, Any], rows: Path) -> Job:
        """Note a batch that is to be run.

        Raises:
            ApiError: The owner has too many that have not ended (429).
            CapacityError: The disk is full.
        """
        job = _new_job(owner, given)
        with self._adding:
            self._check_room(owner)
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with full_disk_is_said(self._directory):
                os.link(rows, self.path(job, "in"))  # they stay, whatever becomes of the file
            self.save(job)
        return job

    def save(self, job: Job) -> None:
        """Write what is known of it."""
        note = [job.owner, job.output_file_id, job.error_file_id, job.batch]
        write_whole(self.path(job, "json"), json.dumps(note))

    def all(self) -> list[Job]:
        """Everybody's, the newest first."""
        return sorted(
            self._notes.all(), key=lambda job: (job.batch["created_at"], job.id), reverse=True
        )

    def find(self, owner: str, batch_id: str) -> Job:
        """One of an owner's.

        Raises:
            ApiError: The owner has none of this id (404).
        """
        job = self._notes.find(batch_id) if _ID.fullmatch(batch_id) else None
        if job is None or job.owner != owner:
            raise ApiError(404, f"there is no batch `{batch_id[:64]}`", "not_found", "batch_id")
        return job

    def cancel(self, job: Job) -> None:
        """Have it end: whoever runs it will see that."""
        self.path(job, "cancel").touch()

    def is_cancelled(self, job: Job) -> bool:
        """Whether its owner wants it to end."""
        return self.path(job, "cancel").exists()

    def shown(self, job: Job) -> dict[str, Any]:
        """What its owner is told."""
        if job.has_ended or not self.is_cancelled(job):
            return job.batch
        since = int(self.path(job, "cancel").stat().st_mtime)
        return {**job.batch, "status": "cancelling", "cancelling_at": since}

    def clear(self, job: Job) -> None:
        """Delete what an ended batch needs no more."""
        for kind in ("in", "out", "err", "cancel"):
            self.path(job, kind).unlink(missing_ok=True)

    def _check_room(self, owner: str) -> None:
        count = sum(job.owner == owner and not job.has_ended for job in self.all())
        if count >= self._most_open:
            said = f"{count} batches have not ended, of at most {self._most_open}"
            raise ApiError(429, f"{said}; wait, or cancel one", "too_many_batches")

    def path(self, job: Job, kind: str) -> Path:
        """One of its files."""
        return self._directory / f"{job.id}.{kind}"


def _new_job(owner: str, given: Mapping[str, Any]) -> Job:
    now = int(time.time())
    batch = {
        "id": f"batch_{secrets.token_hex(16)}",
        "object": "batch",
        **given,
        "errors": None,
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": now,
        "expires_at": now + _DAY_S,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
    }
    return Job(owner, new_file_id(), new_file_id(), batch)


class _Batch(BaseModel):
    """What is read of a batch's object; the rest of it is only shown."""

    model_config = ConfigDict(strict=True)

    id: str
    endpoint: str
    status: str
    created_at: int
    expires_at: int
    request_counts: dict[str, int]


_NOTE = TypeAdapter(tuple[str, str, str, _Batch])


def _read(note: Path) -> Job:
    tree = pydantic_core.from_json(note.read_bytes())
    job = Job(*_NOTE.validate_python(tree)[:3], tree[3])
    if job.id != note.stem:
        raise ValueError(f"it is about `{job.id}`")
    return job

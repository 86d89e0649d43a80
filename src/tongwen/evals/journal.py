"""The records of a run while it runs: whatever breaks it off, what is there is not asked again."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from tongwen.errors import RequestError
from tongwen.evals.record import Record, line_of, record_from, said_in

_STRANGE = (LookupError, TypeError, ValueError, AttributeError)


class Journal:
    """A file that grows by a line for each sample; use it as a context.

    Args:
        path: Where; its directory is made.
        key: What the records depend on; records of another key are not taken.

    Raises:
        RequestError: The file is of another run.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key
        self.records: dict[str, Record] = {}
        """Those that were there already, less what failed."""
        self._file: IO[str] | None = None

    def __enter__(self) -> "Journal":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = _whole_lines(self.path)
        if lines and lines[0].get("key") != self.key:
            raise RequestError(
                f"`{self.path}` is the journal of another run",
                hint="move it away, or give another directory with --out",
            )
        for line in lines[1:]:
            self._note(line)
        self._file = self.path.open("a", encoding="utf-8")
        if not lines:
            self._append({"key": self.key})
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, record: Record) -> None:
        """Keep a record; it is in the file when this returns."""
        self._append(record.to_json())

    def _append(self, said: dict[str, Any]) -> None:
        assert self._file is not None, "a journal is written inside its context"
        self._file.write(line_of(said))
        self._file.flush()

    def _note(self, line: dict[str, Any]) -> None:
        try:
            record = record_from(line)
        except _STRANGE as error:
            raise RequestError(f"`{self.path}` holds what is no record: {error}") from error
        if record.failed is None:
            self.records[record.id] = record
        else:
            self.records.pop(record.id, None)


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file's whole lines; a last one that was broken off is cut away."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
    try:
        lines = [said_in(line) for line in data[:whole].decode().split("\n") if line]
    except ValueError as error:
        raise RequestError(f"`{path}` is damaged: {error}") from error
    if not all(isinstance(line, dict) for line in lines):
        raise RequestError(f"`{path}` is damaged: it holds a line that is no object")
    return lines


def write_records(path: Path, records: Iterable[Record]) -> None:
    """A file of records in their order, there as a whole or not at all."""
    partial = path.with_name(path.name + ".new")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(line_of(record.to_json()) for record in records)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_records(path: Path) -> list[Record]:
    """The records of a file.

    Raises:
        RequestError: It is not there, or damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [record_from(said_in(line)) for line in lines if line]
    except OSError as error:
        raise RequestError(f"`{path}` cannot be read: {error.strerror}") from error
    except _STRANGE as error:
        raise RequestError(f"`{path}` is damaged: {error}") from error

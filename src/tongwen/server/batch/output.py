"""The output of a batch: lines that are only ever appended, so that a crash loses none."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pydantic_core

from tongwen.checkpoint.blobs import full_disk_is_said
from tongwen.errors import RequestError
from tongwen.server.batch.rows import is_answer
from tongwen.server.sse import to_json

_START = b'{"id":"batch_req_'


class Output:
    """A file of answers, appended to.

    What a crash left half-written is cut off at the beginning; the rows that are there stay.

    Args:
        path: The file, made if missing.

    Raises:
        RequestError: It holds something else than answers; nothing of it is changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids: set[str | int] = set()
        self.num_answers = self.num_errors = 0
        end = self._read() if path.exists() else 0
        self._file = path.open("ab")
        if path.stat().st_size > end:
            os.truncate(path, end)

    def __enter__(self) -> "Output":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, line: dict[str, Any]) -> None:
        """Append a line.

        Raises:
            CapacityError: The disk is full.
        """
        with full_disk_is_said(self.path):
            self._file.write(to_json(line) + b"\n")
            self._file.flush()
        self._note(line)

    def _read(self) -> int:
        """Take note of the lines that are whole; where the last of them ends."""
        end = 0
        with self.path.open("rb") as file:
            for number, data in enumerate(file, 1):
                if not data.startswith(_START) and not _START.startswith(data):
                    raise self._foreign(number)
                if not data.endswith(b"\n"):
                    break
                self._note(self._parsed(data, number))
                end += len(data)
        return end

    def _parsed(self, data: bytes, number: int) -> dict[str, Any]:
        try:
            line = pydantic_core.from_json(data)
            is_ours = "custom_id" in line and {"response", "error"} <= line.keys()
        except ValueError:
            is_ours = False
        if not is_ours:
            raise self._foreign(number)
        return dict(line)

    def _note(self, line: Mapping[str, Any]) -> None:
        custom_id = line["custom_id"]
        self.ids.add(line["line"] if custom_id is None else custom_id)
        if is_answer(line):
            self.num_answers += 1
        else:
            self.num_errors += 1

    def _foreign(self, number: int) -> RequestError:
        return RequestError(
            f"line {number} of `{self.path}` is no answer of a batch",
            hint="name another file for the output; this one is left as it is",
        )

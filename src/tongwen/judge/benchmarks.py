"""The files of benchmarks: found below a directory, read as rows, each with its digest."""

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tongwen.errors import DependencyError, RequestError, SourceError

Row = Mapping[str, Any]
Fetch = Callable[[str], Path | None]
"""Where a file of a benchmark lies once it was fetched; `None`: there is none of that name.  Raises
`SourceError` where nobody answers."""

MOST_BYTES = 1 << 30
"""A file may unpack to so much; the largest benchmark of the cards has 12 MB."""

_ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")


class Benchmarks:
    """Files of benchmarks, by names such as `gsm8k/test`.

    Attributes:
        digests: SHA-256 of each file that was read, by its place below the directory.
    """

    def __init__(self, root: Path | None, fetch: Fetch | None = None) -> None:
        self.root, self._fetch = root, fetch
        self.digests: dict[str, str] = {}
        self._silence: str | None = None
        """Why nothing can be fetched."""

    def find(self, names: Sequence[str]) -> Path | None:
        """The first of these that is in the directory, whatever its ending; else fetched."""
        for name in names:
            if (path := self._here(name)) is not None:
                return path
        return next((path for name in names if (path := self._fetched(name)) is not None), None)

    def rows(self, *names: str, hint: str | None = None) -> list[dict[str, Any]]:
        """The rows of the first of these files that is there.

        Args:
            names: Without their endings, the whole benchmark before a part of it.
            hint: Where to get it.

        Raises:
            RequestError: None is there, or it is damaged.
        """
        path = self.find(names)
        if path is None:
            where = (
                "no directory of data was given" if self.root is None else f"not in `{self.root}`"
            )
            also = "" if self._silence is None else f", and {self._silence}"
            raise RequestError(
                f"the benchmark's file `{names[0]}` is not there: {where}{also}",
                hint=hint or "give the directory that holds it with --data DIR",
            )
        data = path.read_bytes()
        self.digests[self._place(path, names)] = hashlib.sha256(data).hexdigest()
        try:
            return _rows(path, data)
        except (ValueError, OSError, EOFError, zlib.error, csv.Error) as error:
            raise RequestError(f"`{path}` is damaged: {error}") from error

    def _fetched(self, name: str) -> Path | None:
        """Where a file lies after it was fetched; who was silent once is not asked again."""
        if self._fetch is None or self._silence is not None:
            return None
        try:
            return self._fetch(name)
        except SourceError as error:
            self._silence = error.message
            return None

    def _here(self, name: str) -> Path | None:
        if self.root is None:
            return None
        inside = PurePosixPath(name)
        if inside.is_absolute() or ".." in inside.parts:
            raise RequestError(f"`{name}` is no place below a directory of data")
        places = (self.root / f"{name}{ending}" for ending in _ENDINGS)
        return next((place for place in places if place.is_file()), None)

    def _place(self, path: Path, names: Sequence[str]) -> str:
        """Below the directory; of what was fetched, where it would lie there."""
        if self.root is not None and path.is_relative_to(self.root):
            return path.relative_to(self.root).as_posix()
        fetched = next(name for name in names if self._fetched(name) == path)
        return fetched + "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])


def _rows(path: Path, data: bytes) -> list[dict[str, Any]]:
    name = path.name
    if name.endswith(".gz"):
        data, name = _unpacked(data), name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet(data)
    text = data.decode("utf-8-sig")
    if name.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(text, newline="")))
    if name.endswith(".jsonl"):
        # Not `splitlines`: JSON may hold U+2028 and its kin as they are.
        return _objects(json.loads(line) for line in text.split("\n") if line.strip())
    found = json.loads(text)
    return _objects(found if isinstance(found, list) else [found])


def _objects(found: Iterable[object]) -> list[dict[str, Any]]:
    rows = list(found)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is no object")
    return rows  # type: ignore[return-value]  # each was looked at


def _unpacked(data: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        found = file.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes")
    return found


def _parquet(data: bytes) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DependencyError(
            "reading Parquet needs `pyarrow`", hint="pip install 'tongwen[eval]'"
        ) from error
    file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
    size = sum(
        file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups)
    )
    if size > MOST_BYTES:
        raise ValueError(f"it unpacks to {size} bytes, more than {MOST_BYTES}")
    return file.read().to_pylist()

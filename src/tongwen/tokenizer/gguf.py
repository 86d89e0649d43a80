"""The header of a GGUF file: its metadata, and where each tensor lies.

The layout is llama.cpp's (`ggml/docs/gguf.md`), all numbers little endian:

    "GGUF" | version u32 | number of tensors u64 | number of pairs u64
    each pair:    key | type u32 | value
    each tensor:  name | number of axes u32 | axes u64, fastest first | type u32 | offset u64
    padding to `general.alignment`, from where the offsets count | data

A string is its length as u64 and then UTF-8; an array is a type, a count and the values.  The
vocabulary lies in here, hence this file's place beside the tokenizer: no torch, and a reader that
walks 300,000 strings in a quarter of a second.  Every count and length is held against the bytes
that are left before anything is allocated for it.
"""

import mmap
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tongwen.errors import CheckpointError

_STRING, _ARRAY = 8, 9
_NUMBERS: dict[int, np.dtype[Any]] = {
    0: np.dtype("<u1"),
    1: np.dtype("<i1"),
    2: np.dtype("<u2"),
    3: np.dtype("<i2"),
    4: np.dtype("<u4"),
    5: np.dtype("<i4"),
    6: np.dtype("<f4"),
    7: np.dtype("?"),
    10: np.dtype("<u8"),
    11: np.dtype("<i8"),
    12: np.dtype("<f8"),
}
_U32, _U64 = 4, 8
# The least bytes that a pair, a tensor's entry, and a string or an array in an array can take.
_PAIR_BYTES, _ENTRY_BYTES, _STRING_BYTES, _ARRAY_BYTES = 13, 32, 8, 12
_MAX_AXES = 4
_MAX_DEPTH = 4
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """One tensor's entry in the header."""

    name: str
    """Its name in the file, such as `blk.0.attn_q.weight`."""

    shape: tuple[int, ...]
    """Rows first: the reverse of the order in which the file states the axes."""

    type_id: int
    """GGML's number for how the values are stored."""

    offset: int
    """First byte of the values, counted from the start of the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GGUFHeader:
    """All that a GGUF file says before its tensors' values."""

    path: Path
    """The file."""

    version: int
    """2 or 3; they differ in nothing that a little-endian file shows."""

    metadata: dict[str, Any]
    """Keys and values, arrays as lists; skipped arrays are absent."""

    tensors: dict[str, TensorInfo]
    """Each tensor's entry by name, in the order of the file."""

    alignment: int
    """Every tensor begins at a multiple of this many bytes after `data_offset`."""

    data_offset: int
    """Where the values begin, in bytes from the start of the file."""

    file_size: int
    """Bytes of the whole file."""


def read_header(path: Path, skip: Collection[str] = ()) -> GGUFHeader:
    """Read the header of one GGUF file.

    Args:
        path: The file; of a split model, one part.
        skip: Keys whose arrays are stepped over and left out, which saves half their time.

    Raises:
        CheckpointError: The file is no GGUF of version 2 or 3, little endian, or is damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"`{path}` is not a file")
    file_size = path.stat().st_size
    if file_size < 24:
        raise CheckpointError(
            f"`{path}` is no GGUF file: at least 24 bytes expected, {file_size} found"
        )
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
        return _read(_Cursor(path, buffer, file_size), skip)


def read_split(path: Path, skip: Collection[str] = ()) -> list[GGUFHeader]:
    """Read the headers of all parts of the model that `path` belongs to, in order.

    A model may be cut into `name-00001-of-00003.gguf` and so on, as `split.count` states; then
    any part may be given.  The first holds the metadata.  A whole file is a list of one.

    Args:
        path: A whole model, or any part of one.
        skip: As in `read_header`.

    Raises:
        CheckpointError: A part is missing, damaged, or out of place.
    """
    header = read_header(path, skip)
    count = header.metadata.get("split.count", 0)
    if not isinstance(count, int):
        raise CheckpointError(f"`{path}`: `split.count` should be a number, is {_shown(count)}")
    if count <= 1:
        return [header]
    name = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.gguf", path.name)
    if name is None or int(name[3]) != count:
        raise CheckpointError(
            f"`{path}` is one of {count} parts, and should be named `...-00001-of-{count:05d}.gguf`"
        )
    parts = [path.with_name(f"{name[1]}-{n:05d}-of-{count:05d}.gguf") for n in range(1, count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise CheckpointError(
            f"`{path}` is one of {count} parts, of which {_listed(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing beside it"
        )
    headers = [header if part == path else read_header(part, skip) for part in parts]
    _check_parts(headers)
    return headers


def _check_parts(headers: list[GGUFHeader]) -> None:
    """Each part is where its name puts it, and no tensor lies in two of them."""
    seen: dict[str, Path] = {}
    for index, header in enumerate(headers):
        stated = header.metadata.get("split.no"), header.metadata.get("split.count")
        if stated != (index, len(headers)):
            raise CheckpointError(
                f"`{header.path}`: part {index} of {len(headers)} expected, its `split.no` and "
                f"`split.count` are {_shown(stated)}"
            )
        for name in header.tensors:
            if name in seen:
                raise CheckpointError(
                    f"`{header.path}`: tensor `{_shown(name)}` is in `{seen[name].name}` already"
                )
            seen[name] = header.path
    stated_total = headers[0].metadata.get("split.tensors.count", len(seen))
    if stated_total != len(seen):
        raise CheckpointError(
            f"`{headers[0].path}`: {_shown(stated_total)} tensors expected in all parts, "
            f"{len(seen)} found"
        )


def _read(cursor: "_Cursor", skip: Collection[str]) -> GGUFHeader:
    version = _version(cursor)
    num_tensors, num_pairs = cursor.number(_U64), cursor.number(_U64)
    cursor.expect_room(num_pairs, _PAIR_BYTES, "metadata pairs")
    metadata: dict[str, Any] = {}
    seen = set()
    for _ in range(num_pairs):
        key = cursor.string("a metadata key")
        if key in seen:
            raise cursor.error(f"metadata key `{_shown(key)}` appears twice")
        seen.add(key)
        value = cursor.value(cursor.number(_U32), key, keep=key not in skip)
        if value is not None:
            metadata[key] = value
    cursor.expect_room(num_tensors, _ENTRY_BYTES, "tensors")
    entries = [_entry(cursor) for _ in range(num_tensors)]
    alignment = _alignment(cursor, metadata)
    data_offset = -(-cursor.at // alignment) * alignment
    return GGUFHeader(
        path=cursor.path,
        version=version,
        metadata=metadata,
        tensors=_placed(cursor, entries, data_offset, alignment),
        alignment=alignment,
        data_offset=data_offset,
        file_size=cursor.size,
    )


def _version(cursor: "_Cursor") -> int:
    magic = cursor.take(4)
    if magic != b"GGUF":
        raise cursor.error(f"it should begin with `GGUF`, and begins with {magic!r}")
    version = cursor.number(_U32)
    if version & 0xFFFF == 0:
        raise cursor.error("it is big endian; only little-endian GGUF is read")
    if version not in (2, 3):
        raise cursor.error(f"it is of GGUF version {version}; versions 2 and 3 are read")
    return version


def _entry(cursor: "_Cursor") -> TensorInfo:
    """One tensor's entry, its offset still counted from the start of the values."""
    name = cursor.string("a tensor's name")
    num_axes = cursor.number(_U32)
    if not 1 <= num_axes <= _MAX_AXES:
        raise cursor.error(
            f"tensor `{_shown(name)}` should have 1 to {_MAX_AXES} axes, has {num_axes}"
        )
    axes = [cursor.number(_U64) for _ in range(num_axes)]
    if 0 in axes:
        raise cursor.error(f"tensor `{_shown(name)}` has an axis of length 0")
    type_id, offset = cursor.number(_U32), cursor.number(_U64)
    return TensorInfo(name=name, shape=tuple(axes[::-1]), type_id=type_id, offset=offset)


def _alignment(cursor: "_Cursor", metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise cursor.error(f"`general.alignment` should be a power of two, is {_shown(alignment)}")
    return alignment


def _placed(
    cursor: "_Cursor", entries: list[TensorInfo], data_offset: int, alignment: int
) -> dict[str, TensorInfo]:
    """The entries by name, their offsets counted from the start of the file."""
    placed: dict[str, TensorInfo] = {}
    for entry in entries:
        start, name = data_offset + entry.offset, _shown(entry.name)
        if entry.name in placed:
            raise cursor.error(f"tensor `{name}` appears twice")
        if entry.offset % alignment:
            raise cursor.error(
                f"tensor `{name}` should begin at a multiple of {alignment}, begins at "
                f"{entry.offset}"
            )
        if start >= cursor.size:
            raise cursor.error(
                f"tensor `{name}` begins at byte {start}, past the end of the file at "
                f"{cursor.size}; it may have been cut short"
            )
        placed[entry.name] = TensorInfo(
            name=entry.name, shape=entry.shape, type_id=entry.type_id, offset=start
        )
    return placed


class _Cursor:
    """A place in the file, and steps forward from it that never leave the file."""

    def __init__(self, path: Path, buffer: mmap.mmap, size: int) -> None:
        self.path, self.buffer, self.size = path, buffer, size
        self.at = 0

    def error(self, what: str) -> CheckpointError:
        return CheckpointError(f"`{self.path}`: {what}")

    def expect_room(self, count: int, each: int, what: str) -> None:
        """Refuse a count of things that could not fit in what is left of the file."""
        if count * each > self.size - self.at:
            raise self.error(
                f"{count} {what} announced at byte {self.at}, which need at least "
                f"{count * each} bytes; {self.size - self.at} are left"
            )

    def take(self, length: int) -> bytes:
        """The next `length` bytes; for the short ones."""
        self.expect_room(length, 1, "bytes")
        self.at += length
        return self.buffer[self.at - length : self.at]

    def number(self, num_bytes: int) -> int:
        """The next unsigned number of so many bytes."""
        return int.from_bytes(self.take(num_bytes), "little")

    def string(self, what: str) -> str:
        return self.strings(1, what)[0]

    def strings(self, count: int, what: str) -> list[str]:
        """The next `count` strings: the loop in which all the time of a vocabulary is spent."""
        buffer, size, at = self.buffer, self.size, self.at
        values: list[str] = []
        try:
            for _ in range(count):
                start = at + 8
                end = start + int.from_bytes(buffer[at:start], "little")
                if end > size or start > size:
                    raise self._too_long(what, len(values), end)
                values.append(buffer[start:end].decode())
                at = end
        except UnicodeDecodeError as error:
            raise self.error(
                f"string {len(values)} of {what} should be UTF-8, has byte "
                f"{error.object[error.start]:#04x} at {start + error.start}"
            ) from error
        self.at = at
        return values

    def step_over_strings(self, count: int, what: str) -> None:
        buffer, size, at = self.buffer, self.size, self.at
        for index in range(count):
            start = at + 8
            at = start + int.from_bytes(buffer[at:start], "little")
            if at > size or start > size:
                raise self._too_long(what, index, at)
        self.at = at

    def _too_long(self, what: str, index: int, end: int) -> CheckpointError:
        return self.error(
            f"string {index} of {what} would end at byte {end}; the file ends at {self.size}"
        )

    def value(self, type_id: int, key: str, *, keep: bool = True, depth: int = 0) -> Any:  # noqa: ANN401 - JSON-like
        """The next value, of the type with this number; `None` for an array not to be kept."""
        if type_id == _STRING:
            return self.string(f"`{_shown(key)}`")
        if type_id == _ARRAY:
            return self._array(key, keep, depth + 1)
        if type_id in _NUMBERS:
            return self._numbers(_NUMBERS[type_id], 1)[0]
        raise self.error(
            f"`{_shown(key)}` should be of a value type from 0 to 12, is of type {type_id}"
        )

    def _array(self, key: str, keep: bool, depth: int) -> list[Any] | None:
        if depth > _MAX_DEPTH:
            raise self.error(f"`{_shown(key)}` nests arrays more than {_MAX_DEPTH} deep")
        type_id, count = self.number(_U32), self.number(_U64)
        what = f"`{_shown(key)}`"
        if type_id == _ARRAY:
            self.expect_room(count, _ARRAY_BYTES, f"arrays in {what}")
            return [self._array(key, keep, depth + 1) for _ in range(count)]
        if type_id == _STRING:
            self.expect_room(count, _STRING_BYTES, f"strings in {what}")
            if keep:
                return self.strings(count, what)
            self.step_over_strings(count, what)
            return None
        if type_id not in _NUMBERS:
            raise self.error(f"{what} should hold a value type from 0 to 12, holds type {type_id}")
        self.expect_room(count, _NUMBERS[type_id].itemsize, f"numbers in {what}")
        if keep:
            return self._numbers(_NUMBERS[type_id], count)
        self.at += count * _NUMBERS[type_id].itemsize
        return None

    def _numbers(self, dtype: np.dtype[Any], count: int) -> list[Any]:
        self.expect_room(count, dtype.itemsize, "numbers")
        start, self.at = self.at, self.at + count * dtype.itemsize
        return np.frombuffer(self.buffer[start : self.at], dtype).tolist()


def _shown(value: object) -> str:
    """A value from an untrusted file, fit for one line of an error."""
    text = str(value)
    return "".join(c if c.isprintable() else "?" for c in text[:80]) + "..." * (len(text) > 80)


def _listed(names: list[str], most: int = 3) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return shown + f" and {len(names) - most} more" * (len(names) > most)

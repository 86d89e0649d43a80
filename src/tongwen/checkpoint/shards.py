"""A directory of safetensors files: one, or several named by an index.

The format (https://github.com/huggingface/safetensors): the header's length as u64, little endian;
the header, a JSON object of `name: {dtype, shape, data_offsets}`; the values.  Headers are checked
here, against the file's size and themselves, before the values are mapped into memory.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from tongwen.checkpoint.json_files import parse_json, read_json
from tongwen.checkpoint.mapped import Mapped
from tongwen.errors import CheckpointError

SINGLE_FILE = "model.safetensors"
"""Where the weights lie if they lie in one file."""

INDEX_FILE = "model.safetensors.index.json"
"""Which tensor lies in which file if there are several."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# The library's own bound; the header of a checkpoint of 72 B parameters takes 0.2 MB.
_MAX_HEADER_BYTES = 100_000_000
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, slots=True)
class _Stored:
    """One tensor's entry in a header."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


class Shards:
    """The tensors of one checkpoint, checked when opened and read when asked for.

    Args:
        directory: It holds `model.safetensors`, or an index and the files that the index names;
            tensors that the index does not name are not part of the checkpoint.

    Raises:
        CheckpointError: It holds neither, a file is damaged, or the index names a file or a tensor
            that is not there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if (directory / INDEX_FILE).is_file():
            self._stored = _indexed(directory)
        elif (directory / SINGLE_FILE).is_file():
            self._stored = read_shard_header(directory / SINGLE_FILE)
        else:
            raise _no_weights(directory)

    def names(self) -> list[str]:
        """Names of all tensors."""
        return list(self._stored)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor of that name."""
        return self._entry(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """Dtype in which the tensor of that name is stored."""
        return self._entry(name).dtype

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name, as stored, mapped from the file until it is written to."""
        entry = self._entry(name)
        values = self._mapped[entry.path].bytes[entry.start : entry.end]
        if entry.start % entry.dtype.itemsize:
            values = values.clone()  # only what is aligned can be read in place
        return values.view(entry.dtype).view(entry.shape)

    def parts(self, name: str, num_rows: int) -> Iterator[Tensor]:
        """The matrix of that name as stored, so many rows at a time, to be read only.

        Rows that were read no longer count as resident when the next are asked for.
        """
        entry = self._entry(name)
        at = entry.start
        for part in self.tensor(name).split(num_rows):
            yield part
            self._mapped[entry.path].forget(at, at + part.nbytes)
            at += part.nbytes

    def forget(self, name: str) -> None:
        """Give back the memory of the tensor of that name, which was read and is not held."""
        entry = self._entry(name)
        self._mapped[entry.path].forget(entry.start, entry.end)

    def files(self) -> list[Path]:
        """The files that hold the tensors."""
        return sorted({stored.path for stored in self._stored.values()})

    @cached_property
    def _mapped(self) -> dict[Path, Mapped]:
        return {path: Mapped(path, writable=True) for path in self.files()}

    def _entry(self, name: str) -> _Stored:
        if name not in self._stored:
            raise CheckpointError(f"`{self.directory}` has no tensor `{name}`")
        return self._stored[name]


def read_shard_header(path: Path) -> dict[str, _Stored]:
    """Where each tensor of one safetensors file lies.

    Raises:
        CheckpointError: The header is not one, or lies about the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
            raise CheckpointError(
                f"`{path}` announces a header of {length} bytes; it has {size} bytes in all",
                hint="it was cut short, or is no safetensors file; fetch it again",
            )
        header = parse_json(file.read(length), str(path))
    header.pop("__metadata__", None)
    start = 8 + length
    stored = {name: _entry(path, name, fields, start, size) for name, fields in header.items()}
    _check_apart(path, stored, start)
    return stored


def _entry(path: Path, name: str, fields: object, start: int, size: int) -> _Stored:
    """One tensor's entry, which must be of a known dtype and as long as its shape says."""
    what = f"`{path}`: tensor `{ascii(name)[1:-1]:.80}`"
    match fields:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(first), int(last)]}:
            pass
        case _:
            raise CheckpointError(f"{what} should have a dtype, a shape and two offsets")
    if dtype not in _DTYPES:
        raise CheckpointError(f"{what} is of dtype `{dtype:.20}`; {' '.join(_DTYPES)} are read")
    if not all(isinstance(axis, int) and axis >= 0 for axis in shape):
        raise CheckpointError(f"{what} has the shape {shape!s:.60}")
    num_bytes = math.prod(shape) * _DTYPES[dtype].itemsize
    if first < 0 or last - first != num_bytes:
        raise CheckpointError(
            f"{what} should take {num_bytes} bytes ({dtype} {shape!s:.60}), and lies from "
            f"{first} to {last}"
        )
    if start + last > size:
        raise CheckpointError(
            f"{what} ends at byte {start + last}; the file has {size}",
            hint="it was cut short; fetch it again",
        )
    return _Stored(path, _DTYPES[dtype], tuple(shape), start + first, start + last)


def _check_apart(path: Path, stored: dict[str, _Stored], end: int) -> None:
    for name, tensor in sorted(stored.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start < end:
            raise CheckpointError(
                f"`{path}`: tensor `{ascii(name)[1:-1]:.80}` begins at byte {tensor.start}, within "
                f"the one that ends at {end}"
            )
        end = tensor.end


def _indexed(directory: Path) -> dict[str, _Stored]:
    """Where each tensor that the index names lies."""
    index = directory / INDEX_FILE
    files = read_json(index).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise CheckpointError(f"`{index}` should map names of tensors to files in `weight_map`")
    headers = {
        name: read_shard_header(_shard_path(directory, name))
        for name in sorted(set(files.values()))
    }
    for tensor, name in files.items():
        if tensor not in headers[name]:
            raise CheckpointError(
                f"`{directory / name}` lacks tensor `{ascii(tensor)[1:-1]:.80}`, which "
                f"`{INDEX_FILE}` puts there"
            )
    return {tensor: headers[name][tensor] for tensor, name in files.items()}


def _shard_path(directory: Path, name: str) -> Path:
    """The file that an index names: in the directory itself, or linked to a store of blobs.

    Caches of hubs keep the files of a model in `blobs` beside or above its directory, and link.

    Raises:
        CheckpointError: The name leads elsewhere, or to nothing.
    """
    shown = f"`{directory / INDEX_FILE}` names the file `{ascii(name)[1:-1]:.80}`"
    if not name.endswith(".safetensors") or Path(name).name != name or "\\" in name:
        raise CheckpointError(f"{shown}; a `.safetensors` file beside it is expected")
    path = directory / name
    if not path.is_file():
        raise CheckpointError(f"{shown}, which is missing", hint="fetch the model again")
    home, target = directory.resolve(), path.resolve()
    if target.parent != home and target.parent not in {up / "blobs" for up in home.parents}:
        raise CheckpointError(f"{shown}, a link that leads out of the directory to `{target}`")
    return path


def _no_weights(directory: Path) -> CheckpointError:
    pickles = sorted(path.name for path in directory.glob("*") if path.suffix in _PICKLES)
    if pickles:
        return CheckpointError(
            f"`{directory}` holds its weights as a pickle, `{pickles[0]}`, which can run any code "
            "when it is read",
            hint="convert it to safetensors where it is trusted, or take a copy of the model that "
            f"has `{SINGLE_FILE}`",
        )
    return CheckpointError(f"`{directory}` has neither `{SINGLE_FILE}` nor `{INDEX_FILE}`")

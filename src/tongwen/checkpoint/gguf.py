"""A GGUF file as a checkpoint: its config, and its tensors under their published names.

The values stay in the file, memory mapped, until they are asked for: as stored (`raw`) or as the
numbers that they stand for (`tensor`).  A file split into parts reads like a whole one.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tongwen.checkpoint.configs import GenerationDefaults
from tongwen.checkpoint.gguf_config import generation_defaults, qwen2_config
from tongwen.checkpoint.json_files import one_line
from tongwen.checkpoint.mapped import Mapped, Part
from tongwen.checkpoint.tensor_names import Entry, Shape, check_counts, check_shapes, entries
from tongwen.errors import CheckpointError, ConfigError
from tongwen.model.config import Qwen2Config
from tongwen.quant.format import BlockFormat, format_of
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.embedded import tokenizer_from_gguf
from tongwen.tokenizer.gguf import GGUFHeader, TensorInfo, read_header, read_split

_VOCABULARY = ("tokens", "token_type", "merges", "scores")
# Values decoded at a time: few enough to stay in a core's cache.
_CHUNK_VALUES = 1 << 19
_WHOLE = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where a tensor's values lie, and how they are to be read."""

    info: TensorInfo
    format: BlockFormat
    part: int
    row_bytes: int

    @property
    def num_rows(self) -> int:
        return math.prod(self.info.shape[:-1])

    @property
    def end(self) -> int:
        return self.info.offset + self.num_rows * self.row_bytes


class GGUFFile:
    """One model in GGUF, opened and checked; nothing is read but the header.

    Args:
        path: The file; of a split model, any part.

    Raises:
        CheckpointError: The file is damaged, of another architecture, stored in a format that is
            not read, or its tensors are not those that its config asks for.
    """

    path: Path
    """The file that was opened."""

    metadata: dict[str, Any]
    """Keys and values of the header, without the lists of the vocabulary."""

    config: Qwen2Config
    """The shape of the model."""

    def __init__(self, path: Path) -> None:
        skip = {f"tokenizer.ggml.{key}" for key in _VOCABULARY}
        self.path, self._headers = path, read_split(path, skip)
        self.metadata = self._headers[0].metadata
        self._stored: dict[str, _Stored] = {}
        for part, header in enumerate(self._headers):
            self._stored |= _stored(header, part)
        shapes = {name: stored.info.shape for name, stored in self._stored.items()}
        self.config = _config(path, self.metadata, shapes)
        self._entries = entries(self.config)
        self._check_tensors(shapes)

    def names(self) -> list[str]:
        """Published names of all tensors."""
        return list(self._entries)

    def shape(self, name: str) -> Shape:
        """Shape of the tensor of that published name."""
        return self._entry(name).shape

    def dtype(self, name: str) -> torch.dtype:
        """What `tensor` returns: the stored dtype, or float32 where blocks are stored."""
        return _WHOLE.get(self._stored[self._entry(name).gguf].format.name, torch.float32)

    def raw(self, name: str) -> tuple[BlockFormat, UInt8[Tensor, "rows bytes"], Shape]:
        """Format, stored bytes and shape of the tensor of that published name.

        The bytes are the file's own, mapped: they must not be written to.
        """
        entry = self._entry(name)
        stored = self._stored[entry.gguf]
        mapped = self._mapped[stored.part].bytes[stored.info.offset : stored.end]
        rows = mapped.view(stored.num_rows, stored.row_bytes)
        if entry.expert is not None:
            rows = rows[entry.expert * entry.shape[0] : (entry.expert + 1) * entry.shape[0]]
        return stored.format, rows, entry.shape

    def format(self, name: str) -> str:
        """The GGML name of how the tensor of that published name is stored."""
        return self.raw(name)[0].name

    def parts(self, name: str, num_rows: int) -> Iterator[Part]:
        """The tensor of that published name as stored, so many rows at a time.

        Rows that were read no longer count as resident when the next are asked for.
        """
        format, rows, _ = self.raw(name)
        mapped = self._mapped[self._stored[self._entry(name).gguf].part]
        for part in rows.split(num_rows):
            yield format.name, part
            first = part.storage_offset()
            mapped.forget(first, first + part.nbytes)

    def files(self) -> list[Path]:
        """The files that its tensors are read from."""
        return [header.path for header in self._headers]

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Float[Tensor, "..."]:
        """The values of the tensor of that published name, in memory of their own.

        Args:
            name: Published name.
            dtype: To round to; `None`: as `dtype(name)` says, which is exact.
        """
        format, rows, shape = self.raw(name)
        values = torch.empty(rows.shape[0], shape[-1], dtype=dtype or self.dtype(name))
        step = max(1, _CHUNK_VALUES // shape[-1])
        for (_, part), target in zip(self.parts(name, step), values.split(step), strict=True):
            target.copy_(format.dequantize(part))
        return values.view(shape)

    @property
    def generation(self) -> GenerationDefaults:
        """How tokens are to be chosen: the family's way, but for what the file states."""
        with _naming(self.path):
            return generation_defaults(self.metadata, self.config)

    def tokenizer(self, cache: Path | None = None) -> Tokenizer:
        """The tokenizer that the file carries; built from its lists as fast as from a cache.

        Raises:
            TokenizerError: The file carries none, or one that does not fit itself.
        """
        return tokenizer_from_gguf(self.tokenizer_metadata)

    @property
    def tokenizer_metadata(self) -> dict[str, Any]:
        """All that the file says about its tokenizer, under the file's keys; read each time."""
        metadata = read_header(self._headers[0].path).metadata
        return {key: value for key, value in metadata.items() if key.startswith("tokenizer.")}

    @property
    def chat_template(self) -> str | None:
        """The Jinja template of conversations, where the file carries one."""
        return self._text("tokenizer.chat_template")

    @property
    def licence(self) -> str | None:
        """The licence's name, where the file states one."""
        return self._text("general.license")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, or of its parts one after the other; reads all of them."""
        digest = hashlib.sha256()
        for header in self._headers:
            with header.path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()

    @cached_property
    def _mapped(self) -> list[Mapped]:
        return [Mapped(header.path) for header in self._headers]

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise CheckpointError(f"`{self.path}` has no tensor `{name}`")
        return self._entries[name]

    def _check_tensors(self, shapes: dict[str, Shape]) -> None:
        expected = {}
        for entry in self._entries.values():
            stack = () if entry.expert is None else (self.config.num_experts,)
            expected[entry.gguf] = (*stack, *entry.shape)
        check_shapes(self.path, expected, shapes)


def _config(path: Path, metadata: dict[str, Any], shapes: dict[str, Shape]) -> Qwen2Config:
    """The config, bounded by what is in the file before anything is made of its counts."""
    with _naming(path):
        config = qwen2_config(metadata, shapes)
    check_counts(path, config.num_hidden_layers, "layers", len(shapes))
    for layer in filter(config.is_sparse, range(config.num_hidden_layers)):
        name = f"blk.{layer}.ffn_gate_exps.weight"
        found = shapes.get(name, (0,))[0]
        if found != config.num_experts:
            raise CheckpointError(
                f"`{path}`: tensor `{name}` should hold {config.num_experts} experts, holds {found}"
            )
    return config


def _stored(header: GGUFHeader, part: int) -> dict[str, _Stored]:
    """Where each tensor lies, each in room of its own and inside the file."""
    stored = {name: _locate(header, info, part) for name, info in header.tensors.items()}
    end, last = header.data_offset, "the header"
    for name, tensor in sorted(stored.items(), key=lambda item: item[1].info.offset):
        if tensor.info.offset < end:
            raise CheckpointError(
                f"`{header.path}`: {_shown(name)} begins at byte {tensor.info.offset}, before the "
                f"end of {last} at {end}"
            )
        end, last = tensor.end, _shown(name)
    if end > header.file_size:
        raise CheckpointError(
            f"`{header.path}` should have {end} bytes or more, has {header.file_size}",
            hint="it was cut short; fetch it again",
        )
    return stored


def _locate(header: GGUFHeader, info: TensorInfo, part: int) -> _Stored:
    with _naming(header.path, _shown(info.name)):
        format = format_of(info.type_id)
        return _Stored(info, format, part, format.row_bytes(info.shape[-1]))


def _shown(name: str) -> str:
    return f"tensor `{ascii(name)[1:-1]:.80}`"


@contextmanager
def _naming(path: Path, *what: str) -> Iterator[None]:
    """Say of an error raised inside which file, and what in it, it is about."""
    try:
        yield
    except (CheckpointError, ConfigError) as error:
        message = ": ".join((f"`{path}`", *what, one_line(str(error))))
        raise CheckpointError(message, hint=error.hint) from error

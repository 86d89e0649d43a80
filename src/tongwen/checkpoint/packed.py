"""Directories whose weights are packed in 2, 4 or 8 bits, seen as if they were not.

`config.json` says how under `quantization_config`.  The tensors go by their published names; each
is unpacked when it is asked for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tongwen.checkpoint.awq import unpack_awq
from tongwen.checkpoint.configs import CONFIG_FILE
from tongwen.checkpoint.gptq import unpack_gptq
from tongwen.checkpoint.json_files import Keys, one_line, read_json
from tongwen.checkpoint.shards import Shards
from tongwen.errors import CheckpointError, ConfigError

_PARTS = (".qweight", ".qzeros", ".scales", ".g_idx")
_WORD_BITS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Packing:
    """How the weights of a directory are packed."""

    method: Literal["gptq", "awq"]
    """Whose layout it is."""

    bits: int
    """Bits of one number."""

    group_size: int | None
    """Columns that share a scale; `None`: all of them."""

    zero_offset: int = 1
    """What GPTQ's stored zeros lack."""


def open_weights(directory: Path) -> "Shards | Packed":
    """The tensors of a checkpoint's directory, packed or not.

    Raises:
        CheckpointError: As `Shards` raises it, or the packing is one that is not read.
    """
    path = directory / CONFIG_FILE
    try:
        packing = packing_from_json(read_json(path).get("quantization_config"))
    except ConfigError as error:
        raise CheckpointError(f"`{path}`: {one_line(str(error))}") from error
    shards = Shards(directory)
    return shards if packing is None else Packed(shards, packing)


def packing_from_json(published: object) -> Packing | None:
    """What a `quantization_config` stands for; `None` for none.

    Raises:
        ConfigError: It is of a method or a form that is not read.
    """
    if published is None:
        return None
    if not isinstance(published, Mapping):
        raise ConfigError(f"`quantization_config` should be an object, is {published!r:.40}")
    method = published.get("quant_method")
    if method == "gptq":
        return _gptq(published)
    if method == "awq":
        return _awq(published)
    raise ConfigError(f"weights are quantized by `{method!s:.40}`; gptq and awq are read")


def _gptq(published: Mapping[str, Any]) -> Packing:
    keys = Keys(published, {"checkpoint_format": "gptq", "group_size": -1})
    form, bits = keys.get("checkpoint_format"), keys.integer("bits")
    if form not in ("gptq", "gptq_v2") or bits not in (2, 4, 8) or published.get("dynamic"):
        raise ConfigError(
            f"GPTQ of {bits} bits in the form `{form!s:.40}`, alike for all layers: 2, 4 or 8 "
            "bits, in the form `gptq` or `gptq_v2`, are read"
        )
    offset = 1 if form == "gptq" else 0
    return Packing(method="gptq", bits=bits, group_size=_group_size(keys), zero_offset=offset)


def _awq(published: Mapping[str, Any]) -> Packing:
    keys = Keys(published, {"version": "gemm", "group_size": -1})
    version, bits = str(keys.get("version")).lower(), keys.integer("bits")
    if version != "gemm" or bits != 4:
        raise ConfigError(
            f"AWQ of {bits} bits in the version `{version:.40}`: 4 bits in the version `gemm` "
            "are read"
        )
    return Packing(method="awq", bits=bits, group_size=_group_size(keys))


def _group_size(keys: Keys) -> int | None:
    size = keys.integer("group_size")
    if size < 1 and size != -1:
        raise keys.wrong("group_size", "a positive number, or -1 for all columns")
    return None if size == -1 else size


class Packed:
    """The tensors of `shards`, those that are packed under the names of what they stand for.

    AutoGPTQ gives every packed layer a bias; those that Qwen2 does not have are left out, being
    zero.

    Args:
        shards: The tensors as stored.
        packing: How they are packed.

    Raises:
        CheckpointError: A part of a packed tensor is missing or misshapen, or a bias that Qwen2
            does not have is not zero.
    """

    def __init__(self, shards: Shards, packing: Packing) -> None:
        self.shards, self.packing = shards, packing
        stored = shards.names()
        self._stored = frozenset(stored)
        layers = [name.removesuffix(".qweight") for name in stored if name.endswith(".qweight")]
        self._shapes = {f"{layer}.weight": self._check_parts(layer) for layer in layers}
        extra = {f"{layer}.bias" for layer in layers if not layer.endswith(("q_proj", "k_proj",
                 "v_proj"))} & self._stored  # fmt: skip
        for name in sorted(extra):
            if shards.tensor(name).count_nonzero():
                raise CheckpointError(f"`{shards.directory}`: tensor `{name}` should be zero")
        plain = [name for name in stored if not name.endswith(_PARTS) and name not in extra]
        self._names = plain + list(self._shapes)

    def names(self) -> list[str]:
        """Published names of all tensors."""
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor of that name, unpacked."""
        return self._shapes[name] if name in self._shapes else self.shards.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        """Dtype of what `tensor` returns: float32, which is exact, for what is packed."""
        return torch.float32 if name in self._shapes else self.shards.dtype(name)

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name, unpacked."""
        if name not in self._shapes:
            return self.shards.tensor(name)
        layer = name.removesuffix(".weight")
        qweight, qzeros, scales = (
            self.shards.tensor(layer + part) for part in (".qweight", ".qzeros", ".scales")
        )
        if self.packing.method == "awq":
            return unpack_awq(qweight, qzeros, scales)
        return unpack_gptq(
            qweight,
            qzeros,
            scales,
            self._groups(layer),
            bits=self.packing.bits,
            zero_offset=self.packing.zero_offset,
        )

    def parts(self, name: str, num_rows: int) -> Iterator[Tensor]:
        """The matrix of that name, unpacked, so many rows at a time, to be read only."""
        if name not in self._shapes:
            yield from self.shards.parts(name, num_rows)
            return
        values = self.tensor(name)
        for part in _PARTS:
            if (stored := name.removesuffix(".weight") + part) in self._stored:
                self.shards.forget(stored)
        yield from values.split(num_rows)

    def files(self) -> list[Path]:
        """The files that hold the tensors."""
        return self.shards.files()

    def _groups(self, layer: str) -> Tensor:
        """The group of each column: as stored, or one after the other."""
        name, columns = f"{layer}.g_idx", self._shapes[f"{layer}.weight"][1]
        if name not in self._stored:
            return torch.arange(columns) // (self.packing.group_size or columns)
        shape, dtype = self.shards.shape(name), self.shards.dtype(name)
        if shape != (columns,) or dtype != torch.int32:
            raise CheckpointError(
                f"`{self.shards.directory}`: tensor `{name}` should be {columns} of int32, is "
                f"{list(shape)} of {dtype}"
            )
        return self.shards.tensor(name)

    def _check_parts(self, layer: str) -> tuple[int, int]:
        """The shape of the layer's weight, its parts fitting each other."""
        rows, words = self._matrix(f"{layer}.qweight", torch.int32)
        per_word = _WORD_BITS // self.packing.bits
        gptq = self.packing.method == "gptq"
        columns, out = (rows * per_word, words) if gptq else (rows, words * per_word)
        groups = -(-columns // (self.packing.group_size or columns))
        for part, dtype, expected in (
            (".qzeros", torch.int32, (groups, out // per_word)),
            (".scales", torch.float16, (groups, out)),
        ):
            found = self._matrix(layer + part, dtype)
            if found != expected or (not gptq and columns % groups):
                raise CheckpointError(
                    f"`{self.shards.directory}`: tensor `{layer}{part}` should have shape "
                    f"{list(expected)}, has {list(found)}"
                )
        return out, columns

    def _matrix(self, name: str, dtype: torch.dtype) -> tuple[int, int]:
        shape, found = self.shards.shape(name), self.shards.dtype(name)
        allowed = {dtype, torch.bfloat16} if dtype == torch.float16 else {dtype}
        if len(shape) != 2 or 0 in shape or found not in allowed:
            raise CheckpointError(
                f"`{self.shards.directory}`: tensor `{name}` should be a matrix of {dtype}, is "
                f"{list(shape)} of {found}"
            )
        return shape[0], shape[1]

"""A model whose matrices are packed for the native kernels."""

import logging
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tongwen.checkpoint.fit import HEAD_DIMS
from tongwen.checkpoint.kept import Contents, Kept, Matrix
from tongwen.checkpoint.mapped import Mapped, Part
from tongwen.kernels.machine import Machine
from tongwen.kernels.memory import SLACK, aligned_bytes
from tongwen.kernels.panels import FORMATS, PANEL_ROWS, STORED, Packed
from tongwen.model.config import Qwen2Config
from tongwen.model.heads import LanguageHead, PackedLanguageHead
from tongwen.model.linear import Embedding, Linear, PackedEmbedding, PackedLinear
from tongwen.model.mlp import Experts, PackedExperts, can_be_one
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.quant.format import format_named

log = logging.getLogger(__name__)

Kind = Literal["file", "bf16", "int8", "int4"]
"""How matrices are packed: as stored, or rounded."""

_DECIDING = (".mlp.gate.weight", ".shared_expert_gate.weight")

REQUANTIZED = {"int8": "Q8_0", "int4": "Q4_0"}
"""The format that each kind of weights is rounded to: groups of 32, one scale each."""

_PIECE_BYTES = 8 << 20  # packed at a time: what is held twice, and work enough for all threads


def runs_natively(config: Qwen2Config) -> bool:
    """Whether the native kernels know a model of this shape."""
    widths = (config.hidden_size, config.intermediate_size)
    sparse = (config.moe_intermediate_size, config.shared_expert_intermediate_size)
    return config.head_size in HEAD_DIMS and not any(w % 32 for w in (*widths, *sparse))


@runtime_checkable
class Rows(Protocol):
    """A checkpoint whose matrices can be had as they are stored."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        ...

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor's values, rounded to `dtype`."""
        ...

    def format(self, name: str) -> str:
        """The GGML name of how a tensor is stored."""
        ...

    def parts(self, name: str, num_rows: int) -> Iterator[Part]:
        """A matrix as stored, so many rows at a time."""
        ...

    def files(self) -> list[Path]:
        """What the tensors are read from."""
        ...


def pack_model(
    model: Qwen2ForCausalLM, source: Rows, kind: Kind, machine: Machine, kept: Kept | None = None
) -> Qwen2ForCausalLM:
    """Fill a model made on the meta device with packed matrices and float32 vectors.

    Args:
        model: Its modules are replaced.
        source: The checkpoint.
        kind: `file`, `bf16`, `int8` or `int4`.
        machine: The kernels.
        kept: Where packed matrices are looked for, and kept; `None`: they are packed into memory.
    """
    matrices = _matrices(model, source, kind, machine)
    packed = packed_matrices(matrices, source, machine, kept)
    for path, module in list(model.named_modules()):
        if (weight := packed.get(_weight_of(model, path))) is not None:
            model.set_submodule(path, _over(weight, path, module, source, machine))
    for path, module in list(model.named_modules()):
        if isinstance(module, Experts) and can_be_one(module):
            model.set_submodule(path, PackedExperts(module))
    _fill_rest(model, source)
    model.tie()
    model.machine = machine
    return model.eval()


def _weight_of(model: Qwen2ForCausalLM, path: str) -> str:
    """The name of a module's weight: of a tied head it is the embedding's."""
    is_tied = path == "lm_head" and model.config.tie_word_embeddings
    return "model.embed_tokens.weight" if is_tied else f"{path}.weight"


def _matrices(model: Qwen2ForCausalLM, source: Rows, kind: Kind, machine: Machine) -> list[Matrix]:
    """The matrices that are packed, in the order in which a step reads them."""
    found = {}
    for path, module in model.named_modules():
        if not isinstance(module, Linear | Embedding | LanguageHead):
            continue
        name = _weight_of(model, path)
        format = packed_format(source, name, kind)
        if format is not None:
            rows, columns = source.shape(name)
            size = machine.packed_bytes(format, rows, columns)
            found[name] = Matrix(name, format, rows, columns, size)
    return list(found.values())


def _over(
    weight: Packed, path: str, module: nn.Module, source: Rows, machine: Machine
) -> nn.Module:
    """The module that does over packed weights what `module` does."""
    if isinstance(module, Embedding):
        return PackedEmbedding(machine, weight)
    if isinstance(module, LanguageHead):
        return PackedLanguageHead(machine, weight)
    biased = isinstance(module, Linear) and module.bias is not None
    bias = source.tensor(f"{path}.bias", torch.float32) if biased else None
    return PackedLinear(machine, weight, bias)


def packed_matrices(
    matrices: Sequence[Matrix], source: Rows, machine: Machine, kept: Kept | None = None
) -> dict[str, Packed]:
    """Matrices in panels by name: mapped where they are or can be kept, else in memory."""
    mapped = None if kept is None else _kept_panels(matrices, source, machine, kept)
    return {
        each.name: Packed(
            FORMATS.index(each.format),
            _packed_into_memory(source, each, machine) if mapped is None else mapped[each.name],
            each.rows,
            each.columns,
        )
        for each in matrices
    }


def _kept_panels(
    matrices: Sequence[Matrix], source: Rows, machine: Machine, kept: Kept
) -> dict[str, Tensor] | None:
    """Panels mapped from the disk, where they are written if they are not there yet."""
    contents = Contents(
        sources=tuple(map(kept.identity, source.files())),
        layout_version=machine.layout_version,
        matrices=tuple(matrices),
        slack_bytes=SLACK,
    )
    path = kept.find(contents) or kept.write(contents, _pieces(matrices, source, machine))
    if path is None:
        return None
    try:
        mapped = Mapped(path)
    except OSError as error:
        log.warning("`%s` cannot be mapped (%s); packing into memory", path, error.strerror)
        return None
    mapped.expect()
    return {each.name: mapped.bytes[at : at + each.num_bytes] for each, at in contents.starts()}


def _pieces(matrices: Sequence[Matrix], source: Rows, machine: Machine) -> Iterator[memoryview]:
    """The panels of matrix after matrix, each piece to be used before the next is asked for."""
    room = aligned_bytes(max(map(_piece_bytes, matrices), default=0))
    for each in matrices:
        for piece in pack_pieces(source, each, machine, lambda size: room[:size]):
            yield piece.numpy().data


def _packed_into_memory(source: Rows, matrix: Matrix, machine: Machine) -> Tensor:
    """The panels of one matrix."""
    panels, at = aligned_bytes(matrix.num_bytes), 0

    def next_room(size: int) -> Tensor:
        nonlocal at
        at += size
        return panels[at - size : at]

    for _ in pack_pieces(source, matrix, machine, next_room):
        pass
    return panels


def pack_pieces(
    source: Rows, matrix: Matrix, machine: Machine, room: Callable[[int], Tensor]
) -> Iterator[Tensor]:
    """Pack a matrix some panels at a time, as stored or rounded to what it is to hold.

    Args:
        source: The checkpoint.
        matrix: What is packed, and how.
        machine: The kernels.
        room: Gives the memory for so many bytes of panels.
    """
    for format, rows in source.parts(matrix.name, _piece_rows(matrix)):
        into = room(machine.packed_bytes(matrix.format, len(rows), matrix.columns))
        stored, stored_format = rows, format
        if format not in STORED:
            values = format_named(format).dequantize(rows)
            stored, stored_format = values.view(torch.uint8), "F32"
        machine.pack(matrix.format, stored, matrix.columns, into, stored_format=stored_format)
        yield into


def _piece_rows(matrix: Matrix) -> int:
    """Rows of whole panels that are packed at a time."""
    panel_bytes = matrix.num_bytes // -(-matrix.rows // PANEL_ROWS)
    return max(1, _PIECE_BYTES // panel_bytes) * PANEL_ROWS


def _piece_bytes(matrix: Matrix) -> int:
    panels = -(-matrix.rows // PANEL_ROWS)
    return matrix.num_bytes // panels * min(panels, _piece_rows(matrix) // PANEL_ROWS)


def held_bytes(source: Rows, name: str, kind: Kind, machine: Machine) -> int:
    """Bytes that a tensor takes in memory."""
    shape = source.shape(name)
    format = packed_format(source, name, kind)
    return 4 * prod(shape) if format is None else machine.packed_bytes(format, *shape)


def packed_format(source: Rows, name: str, kind: Kind) -> str | None:
    """The format in which a tensor is packed; `None`: it stays in float32, in a plain layer.

    That is so for vectors, for the router and the shared expert's gate, which are small and
    decide, and for stored formats that have no native product.
    """
    if len(source.shape(name)) != 2 or name.endswith(_DECIDING):
        return None
    if kind != "file":
        return REQUANTIZED.get(kind, "BF16")
    stored = source.format(name)
    return stored if stored in FORMATS else None


def rounded(values: Float[Tensor, "rows columns"], kind: Kind) -> Float[Tensor, "rows columns"]:
    """What a matrix stands for after rounding: the plain twin of packing it."""
    format = format_named(REQUANTIZED[kind])
    out = torch.empty(values.shape)
    step = max(1, _PIECE_BYTES // values.shape[1])
    for part, target in zip(values.split(step), out.split(step), strict=True):
        target.copy_(format.dequantize(format.quantize(part.to(torch.float32))))
    return out


def _fill_rest(model: Qwen2ForCausalLM, source: Rows) -> None:
    """What is not packed, in float32."""
    for path, module in model.named_modules():
        for leaf, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                values = source.tensor(f"{path}.{leaf}", torch.float32)
                setattr(module, leaf, nn.Parameter(values, requires_grad=False))

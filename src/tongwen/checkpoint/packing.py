"""A model whose matrices are packed for the native kernels."""

from math import prod
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tongwen.checkpoint.fit import HEAD_DIMS
from tongwen.kernels.machine import FORMATS, Machine, Packed, aligned_bytes
from tongwen.model.config import Qwen2Config
from tongwen.model.heads import PackedLanguageHead
from tongwen.model.linear import Linear, PackedEmbedding, PackedLinear
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.quant.format import format_named

Kind = Literal["file", "bf16", "int8", "int4"]
"""How matrices are packed: as stored, or rounded."""

_DECIDING = (".mlp.gate.weight", ".shared_expert_gate.weight")

REQUANTIZED = {"int8": "Q8_0", "int4": "Q4_0"}
"""The format that each kind of weights is rounded to: groups of 32, one scale each."""


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

    def rows(self, name: str) -> UInt8[Tensor, "rows bytes"]:
        """A matrix as stored."""
        ...


def pack_model(
    model: Qwen2ForCausalLM, source: Rows, kind: Kind, machine: Machine
) -> Qwen2ForCausalLM:
    """Fill a model made on the meta device with packed matrices and float32 vectors.

    Args:
        model: Its modules are replaced as their weights are read, one at a time.
        source: The checkpoint.
        kind: `file`, `bf16`, `int8` or `int4`.
        machine: The kernels.
    """
    for path, module in list(model.named_modules()):
        weight = f"{path}.weight"
        if isinstance(module, Linear) and packed_format(source, weight, kind) is not None:
            packed = pack_matrix(source, weight, kind, machine)
            bias = None if module.bias is None else source.tensor(f"{path}.bias", torch.float32)
            model.set_submodule(path, PackedLinear(machine, packed, bias))
    _pack_tables(model, source, kind, machine)
    _fill_rest(model, source)
    model.tie()
    model.machine = machine
    return model.eval()


def _pack_tables(model: Qwen2ForCausalLM, source: Rows, kind: Kind, machine: Machine) -> None:
    """Pack the embedding, and the head where it is not the embedding."""
    embedding, head = "model.embed_tokens.weight", "lm_head.weight"
    tied = model.config.tie_word_embeddings
    if packed_format(source, embedding, kind) is not None:
        table = pack_matrix(source, embedding, kind, machine)
        model.model.embed_tokens = PackedEmbedding(machine, table)
        if tied:
            model.lm_head = PackedLanguageHead(machine, table)
    if not tied and packed_format(source, head, kind) is not None:
        model.lm_head = PackedLanguageHead(machine, pack_matrix(source, head, kind, machine))


def pack_matrix(source: Rows, name: str, kind: Kind, machine: Machine) -> Packed:
    """One matrix in panels: as stored, or rounded to what `kind` says."""
    stored, format = stored_rows(source, name, kind)
    rows, columns = source.shape(name)
    into = aligned_bytes(machine.packed_bytes(format, rows, columns))
    return machine.pack(format, stored, columns, into)


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
    return format.dequantize(format.quantize(values.to(torch.float32)))


def stored_rows(source: Rows, name: str, kind: Kind) -> tuple[UInt8[Tensor, "rows bytes"], str]:
    """Rows of a matrix as a GGUF file would store them, and in which format."""
    format = packed_format(source, name, kind)
    assert format is not None, "only what is packed has rows"
    if format == source.format(name):
        return source.rows(name), format
    if format == "BF16":
        return source.tensor(name, torch.bfloat16).contiguous().view(torch.uint8), format
    return format_named(format).quantize(source.tensor(name, torch.float32)), format


def _fill_rest(model: Qwen2ForCausalLM, source: Rows) -> None:
    """What is not packed, in float32."""
    for path, module in model.named_modules():
        for leaf, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                values = source.tensor(f"{path}.{leaf}", torch.float32)
                setattr(module, leaf, nn.Parameter(values, requires_grad=False))

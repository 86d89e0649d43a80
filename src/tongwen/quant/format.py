"""The block formats of GGML: how a GGUF file stores a row of weights, and what its bytes stand for.

A row is cut into blocks of 32 or 256 values, each stored in a fixed number of bytes: a scale or
two in float16 and small integers.  The layouts and the arithmetic are those of llama.cpp's
`ggml-quants.c`; every value comes out in the same float32 bits as from the `gguf` package.  The
`_K` formats hold 256 values in sub-blocks, whose own scales are small integers too.

Integers of less than a byte lie in planes: of a run of bytes, the low bits of each are the first
values, the next bits those that follow.  `_planes` is the one place that knows this.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int8, UInt8
from torch import Tensor

from tongwen.errors import CheckpointError

Blocks = UInt8[Tensor, "blocks block_bytes"]
Values = Float32[Tensor, "blocks block_size"]


@dataclass(frozen=True, slots=True)
class BlockFormat:
    """One way to store a row of weights in blocks."""

    name: str
    """GGML's name for it."""

    type_id: int
    """GGML's number for it, as GGUF files state it."""

    block_size: int
    """Values in one block."""

    block_bytes: int
    """Bytes of one block."""

    decode: Callable[[Blocks], Values]
    """What blocks stand for."""

    encode: Callable[[Values], Blocks] | None = None
    """The blocks that stand for values best, by llama.cpp's rounding; `None` where not offered."""

    def dequantize(self, rows: UInt8[Tensor, "rows bytes"]) -> Float32[Tensor, "rows columns"]:
        """What the stored rows stand for, in float32."""
        blocks = rows.reshape(-1, self.block_bytes)
        return self.decode(blocks).reshape(len(rows), self.num_columns(rows.shape[1]))

    def quantize(self, rows: Float[Tensor, "rows columns"]) -> UInt8[Tensor, "rows bytes"]:
        """The rows as they would be stored; the columns must be a multiple of `block_size`.

        Raises:
            CheckpointError: This format is only read, or the columns do not fill its blocks.
        """
        if self.encode is None:
            raise CheckpointError(f"values can be read from {self.name}, not written to it")
        num_bytes = self.row_bytes(rows.shape[1])
        return self.encode(rows.float().reshape(-1, self.block_size)).reshape(-1, num_bytes)

    def row_bytes(self, num_columns: int) -> int:
        """Bytes of a row of so many values.

        Raises:
            CheckpointError: They do not fill whole blocks.
        """
        if num_columns % self.block_size:
            raise CheckpointError(
                f"a row of {num_columns} values does not fill blocks of {self.block_size} "
                f"({self.name})"
            )
        return num_columns // self.block_size * self.block_bytes

    def num_columns(self, row_bytes: int) -> int:
        """Values in a row of so many bytes."""
        return row_bytes // self.block_bytes * self.block_size


def format_of(type_id: int) -> BlockFormat:
    """The format with GGML's number `type_id`.

    Raises:
        CheckpointError: It is one that is not read here.
    """
    if type_id in FORMATS:
        return FORMATS[type_id]
    name = _UNREAD.get(type_id, f"GGML type {type_id}")
    known = " ".join(known.name for known in FORMATS.values())
    raise CheckpointError(f"values stored as {name} are not read; {known} are")


def format_named(name: str) -> BlockFormat:
    """The format of that name, such as `Q8_0`.

    Raises:
        CheckpointError: There is none.
    """
    for known in FORMATS.values():
        if known.name == name:
            return known
    raise CheckpointError(
        f"unknown block format `{name}`; known are {' '.join(f.name for f in FORMATS.values())}"
    )


def _planes(
    packed: UInt8[Tensor, "blocks packed"], bits: int, run: int
) -> UInt8[Tensor, "blocks values"]:
    """Small integers of `bits` bits each, packed in planes over every `run` bytes."""
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)
    planes = packed.unflatten(1, (-1, 1, run)) >> shifts[:, None]  # [blocks, runs, 8 / bits, run]
    return (planes & (2**bits - 1)).flatten(1)


def _halves(blocks: Blocks, at: int) -> Float32[Tensor, "blocks 1"]:
    """The float16 at byte `at` of each block."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def _signed(blocks: UInt8[Tensor, "blocks bytes"]) -> Int8[Tensor, "blocks bytes"]:
    return blocks.contiguous().view(torch.int8)


def _float32(blocks: Blocks) -> Values:
    return blocks.contiguous().view(torch.float32)


def _float16(blocks: Blocks) -> Values:
    return blocks.contiguous().view(torch.float16).float()


def _bfloat16(blocks: Blocks) -> Values:
    return blocks.contiguous().view(torch.bfloat16).float()


def _q4_0(blocks: Blocks) -> Values:
    """Scale, 16 bytes of 4 bits: `d * (q - 8)`."""
    q = _planes(blocks[:, 2:], bits=4, run=16)
    return q.float().sub_(8).mul_(_halves(blocks, 0))


def _q4_1(blocks: Blocks) -> Values:
    """Scale, least value, 16 bytes of 4 bits: `d * q + m`."""
    q = _planes(blocks[:, 4:], bits=4, run=16)
    return q.float().mul_(_halves(blocks, 0)).add_(_halves(blocks, 2))


def _q5_0(blocks: Blocks) -> Values:
    """Scale, 32 fifth bits, 16 bytes of 4 bits: `d * (q - 16)`."""
    high = _planes(blocks[:, 2:6], bits=1, run=1)
    q = _planes(blocks[:, 6:], bits=4, run=16) | high << 4
    return q.float().sub_(16).mul_(_halves(blocks, 0))


def _q5_1(blocks: Blocks) -> Values:
    """Scale, least value, 32 fifth bits, 16 bytes of 4 bits: `d * q + m`."""
    high = _planes(blocks[:, 4:8], bits=1, run=1)
    q = _planes(blocks[:, 8:], bits=4, run=16) | high << 4
    return q.float().mul_(_halves(blocks, 0)).add_(_halves(blocks, 2))


def _q8_0(blocks: Blocks) -> Values:
    """Scale, 32 signed bytes: `d * q`."""
    return _signed(blocks[:, 2:]).float().mul_(_halves(blocks, 0))


def _q2_k(blocks: Blocks) -> Values:
    """16 bytes of a scale and a least value of 4 bits each, 64 bytes of 2 bits, their two scales.

    Sub-blocks of 16: `d * scale * q - dmin * least`.
    """
    scale = _halves(blocks, 80) * (blocks[:, :16] & 15).float()  # [blocks, 16]
    least = _halves(blocks, 82) * (blocks[:, :16] >> 4).float()
    return _scaled(_planes(blocks[:, 16:80], bits=2, run=32).float(), scale, least)


def _q3_k(blocks: Blocks) -> Values:
    """32 bytes of third bits, 64 bytes of 2 bits, 16 scales of 6 bits in 12 bytes, a scale.

    Sub-blocks of 16: `d * (scale - 32) * (q - 4)`, the third bit of `q` being the stored one.
    """
    high = _planes(blocks[:, :32], bits=1, run=32)
    q = _planes(blocks[:, 32:96], bits=2, run=32) | high << 2
    low_scale = _planes(blocks[:, 96:104], bits=4, run=8)
    scale = low_scale | _planes(blocks[:, 104:108], bits=2, run=4) << 4  # [blocks, 16]
    return _scaled(q.float().sub_(4), _halves(blocks, 108) * scale.float().sub_(32))


def _q4_k(blocks: Blocks) -> Values:
    """Two scales, 8 scales and least values of 6 bits in 12 bytes, 128 bytes of 4 bits.

    Sub-blocks of 32: `d * scale * q - dmin * least`.
    """
    q = _planes(blocks[:, 16:], bits=4, run=32)
    return _scaled(q.float(), *_scales_and_leasts(blocks))


def _q5_k(blocks: Blocks) -> Values:
    """As Q4_K, with 32 bytes of fifth bits before the 4 bits."""
    high = _planes(blocks[:, 16:48], bits=1, run=32)
    q = _planes(blocks[:, 48:], bits=4, run=32) | high << 4
    return _scaled(q.float(), *_scales_and_leasts(blocks))


def _q6_k(blocks: Blocks) -> Values:
    """128 bytes of 4 bits, 64 bytes of the two bits above, 16 signed scales, their scale.

    Sub-blocks of 16: `d * scale * (q - 32)`.
    """
    high = _planes(blocks[:, 128:192], bits=2, run=32)
    q = _planes(blocks[:, :128], bits=4, run=64) | high << 4
    scale = _halves(blocks, 208) * _signed(blocks[:, 192:208]).float()  # [blocks, 16]
    return _scaled(q.float().sub_(32), scale)


def _scaled(
    q: Values,
    scale: Float32[Tensor, "blocks subblocks"],
    least: Float32[Tensor, "blocks subblocks"] | None = None,
) -> Values:
    """`scale * q - least`, each sub-block by its own; `q` is overwritten."""
    values = q.unflatten(1, (scale.shape[1], -1)).mul_(scale[:, :, None])
    if least is not None:
        values.sub_(least[:, :, None])
    return q


def _scales_and_leasts(
    blocks: Blocks,
) -> tuple[Float32[Tensor, "blocks 8"], Float32[Tensor, "blocks 8"]]:
    """Of Q4_K and Q5_K: six-bit numbers, packed so that four of eight reach into a third word.

    Bytes 4 to 7 hold the first four scales, 8 to 11 the first four least values, each with the
    top two bits of one of the last four; 12 to 15 hold the low four bits of those, scales lower.
    """
    a, b, c = blocks[:, 4:16].split(4, dim=1)
    scale = torch.cat((a & 63, c & 15 | a >> 6 << 4), dim=1)  # [blocks, 8]
    least = torch.cat((b & 63, c >> 4 | b >> 6 << 4), dim=1)
    return _halves(blocks, 0) * scale.float(), _halves(blocks, 2) * least.float()


def _inverse(scale: Float32[Tensor, "blocks 1"]) -> Float32[Tensor, "blocks 1"]:
    return torch.where(scale == 0, 0, 1 / scale)


def _to_bytes(scale: Float32[Tensor, "blocks 1"]) -> UInt8[Tensor, "blocks 2"]:
    return scale.half().view(torch.uint8)


def _to_float32(values: Values) -> Blocks:
    return values.contiguous().view(torch.uint8)


def _to_float16(values: Values) -> Blocks:
    return values.half().view(torch.uint8)


def _to_bfloat16(values: Values) -> Blocks:
    return values.bfloat16().view(torch.uint8)


def _to_q8_0(values: Values) -> Blocks:
    """Scale by the largest magnitude over 127; halves are rounded away from zero."""
    scale = values.abs().amax(dim=1, keepdim=True) / 127
    scaled = values * _inverse(scale)
    whole = scaled.abs().floor()
    magnitude = whole + (2 * (scaled.abs() - whole)).floor()
    q = (scaled.sign() * magnitude).to(torch.int8)
    return torch.cat((_to_bytes(scale), q.view(torch.uint8)), dim=1)


def _to_q4_0(values: Values) -> Blocks:
    """Scale so that the value of largest magnitude becomes -8, with its sign."""
    largest = values.gather(1, values.abs().argmax(dim=1, keepdim=True))
    scale = largest / -8
    q = (values * _inverse(scale) + 8.5).clamp_(0, 15).to(torch.uint8)
    low, high = q.split(16, dim=1)
    return torch.cat((_to_bytes(scale), low | high << 4), dim=1)


FORMATS = {
    known.type_id: known
    for known in (
        BlockFormat("F32", 0, 1, 4, _float32, _to_float32),
        BlockFormat("F16", 1, 1, 2, _float16, _to_float16),
        BlockFormat("Q4_0", 2, 32, 18, _q4_0, _to_q4_0),
        BlockFormat("Q4_1", 3, 32, 20, _q4_1),
        BlockFormat("Q5_0", 6, 32, 22, _q5_0),
        BlockFormat("Q5_1", 7, 32, 24, _q5_1),
        BlockFormat("Q8_0", 8, 32, 34, _q8_0, _to_q8_0),
        BlockFormat("Q2_K", 10, 256, 84, _q2_k),
        BlockFormat("Q3_K", 11, 256, 110, _q3_k),
        BlockFormat("Q4_K", 12, 256, 144, _q4_k),
        BlockFormat("Q5_K", 13, 256, 176, _q5_k),
        BlockFormat("Q6_K", 14, 256, 210, _q6_k),
        BlockFormat("BF16", 30, 1, 2, _bfloat16, _to_bfloat16),
    )
}
"""Every format that is read, by GGML's number."""

_UNREAD = {
    9: "Q8_1",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
}

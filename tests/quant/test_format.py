"""Block formats against the `gguf` package, bit for bit."""

import gguf
import numpy as np
import pytest
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from tongwen.errors import CheckpointError
from tongwen.quant.format import FORMATS, BlockFormat, format_named, format_of

EVERY = pytest.mark.parametrize("format", FORMATS.values(), ids=lambda known: known.name)
WRITTEN = pytest.mark.parametrize("name", ["Q8_0", "Q4_0"])
# Where the float16 scales of a block lie, in bytes.
SCALES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2),
          "Q5_K": (0, 2), "Q6_K": (208,), "Q4_0": (0,), "Q5_0": (0,), "Q8_0": (0,)}  # fmt: skip


def bits_by_gguf(rows: np.ndarray, format: BlockFormat) -> np.ndarray:
    with np.errstate(all="ignore"):
        values = gguf.quants.dequantize(rows, GGMLQuantizationType(format.type_id))
    return values.astype(np.float32).view(np.uint32)


def bits_by_us(rows: np.ndarray, format: BlockFormat) -> np.ndarray:
    return format.dequantize(torch.from_numpy(rows)).numpy().view(np.uint32)


@EVERY
def test_any_bytes_stand_for_what_the_gguf_package_says(format: BlockFormat) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (64, 6 * format.block_bytes), dtype=np.uint8)
    ours, theirs = bits_by_us(rows, format), bits_by_gguf(rows, format)
    no_number = np.isnan(theirs.view(np.float32))
    assert np.array_equal(np.isnan(ours.view(np.float32)), no_number)
    assert np.array_equal(ours[~no_number], theirs[~no_number])


@pytest.mark.parametrize("name", SCALES)
@pytest.mark.parametrize("scale", [65504.0, -65504.0, 6e-8, -6e-8, 0.0, -0.0, 1 / 3])
def test_extreme_scales_give_the_same_bits(name: str, scale: float) -> None:
    format = format_named(name)
    blocks = np.random.default_rng(1).integers(0, 256, (128, format.block_bytes), dtype=np.uint8)
    for at in SCALES[name]:
        blocks[:, at : at + 2] = np.array([scale], np.float16).view(np.uint8)
    assert np.array_equal(bits_by_us(blocks, format), bits_by_gguf(blocks, format))


@EVERY
def test_sizes_are_those_of_the_gguf_package(format: BlockFormat) -> None:
    theirs = GGMLQuantizationType(format.type_id)
    assert format.name == theirs.name
    assert (format.block_size, format.block_bytes) == GGML_QUANT_SIZES[theirs]
    assert format.num_columns(format.row_bytes(512)) == 512


@pytest.mark.parametrize("name", ["F16", "BF16", "F32"])
def test_whole_formats_keep_their_values(name: str) -> None:
    values = torch.randn(3, 64).bfloat16().half().float()
    exact = values.to({"F16": torch.float16, "BF16": torch.bfloat16}.get(name, torch.float32))
    format = format_named(name)
    assert torch.equal(format.dequantize(format.quantize(values)), exact.float())


@WRITTEN
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e4])
def test_quantized_bytes_are_those_of_the_gguf_package(name: str, size: float) -> None:
    generator = np.random.default_rng(2)
    values = generator.standard_normal((64, 256)).astype(np.float32) * np.float32(size)
    values[0] = 0
    values[1] = (generator.integers(-9, 10, 256) / 2).astype(np.float32)  # ties everywhere
    format = format_named(name)
    theirs = gguf.quants.quantize(values, GGMLQuantizationType(format.type_id))
    assert np.array_equal(format.quantize(torch.from_numpy(values)).numpy(), theirs)


@pytest.mark.parametrize(("name", "steps"), [("Q8_0", 127), ("Q4_0", 8)])
def test_a_quantized_value_is_within_a_step_of_the_value(name: str, steps: int) -> None:
    values = torch.randn(16, 256, generator=torch.Generator().manual_seed(3))
    format = format_named(name)
    error = (format.dequantize(format.quantize(values)) - values).unflatten(1, (-1, 32)).abs()
    step = values.unflatten(1, (-1, 32)).abs().amax(-1) / steps
    # Half a step, or one where Q4_0 has no eighth positive level; and 2^-11 of the scale's float16.
    assert bool((error.amax(-1) <= step * (0.5 if steps == 127 else 1) + step * steps / 1024).all())


def test_other_formats_are_refused_by_name() -> None:
    for theirs in GGMLQuantizationType:
        if theirs.value not in FORMATS:
            with pytest.raises(CheckpointError, match=f"stored as {theirs.name} are not read"):
                format_of(theirs.value)
    with pytest.raises(CheckpointError, match="GGML type 4096"):
        format_of(4096)
    with pytest.raises(CheckpointError, match="unknown block format `Q9_9`"):
        format_named("Q9_9")


def test_rows_that_do_not_fill_blocks_are_refused() -> None:
    with pytest.raises(CheckpointError, match="a row of 48 values does not fill blocks of 32"):
        format_named("Q8_0").quantize(torch.zeros(2, 48))


def test_formats_that_are_only_read_refuse_to_be_written() -> None:
    with pytest.raises(CheckpointError, match="read from Q4_K, not written"):
        format_named("Q4_K").quantize(torch.zeros(1, 256))

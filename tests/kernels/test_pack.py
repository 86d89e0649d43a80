"""Packing: what is stored goes into panels unchanged, or rounded as the plain twin rounds it."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tongwen.kernels.machine import Machine
from tongwen.kernels.memory import aligned_bytes
from tongwen.kernels.panels import FORMATS, PANEL_ROWS, STORED, Packed
from tongwen.quant.format import format_named

native = pytest.importorskip("tongwen.kernels._native", reason="no native kernels were built")

COLUMNS, ROWS = 512, 130  # two superblocks; a last panel of two rows
ROUNDED = ("Q8_0", "Q4_0", "BF16")


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(native, "portable")


def some_rows(format: str, rows: int = ROWS, columns: int = COLUMNS) -> Tensor:
    """Stored rows of `format` with finite scales of sensible size, always the same ones."""
    block, generator = format_named(format), torch.Generator().manual_seed(len(format) + rows)
    if format in ("F32", "F16", "BF16"):
        values = torch.randn(rows, columns, generator=generator)
        return format_named(format).quantize(values)
    shape = (rows, columns // block.block_size, block.block_bytes)
    stored = torch.randint(0, 256, shape, generator=generator)
    for low in _HALVES[format]:  # the upper byte of each fp16: between 2^-7 and 2^-5, some negative
        stored[..., low + 1] = (0x20 + stored[..., low + 1] % 8) | (stored[..., low + 1] & 0x80)
    return stored.flatten(1).to(torch.uint8)


_HALVES = {
    "Q8_0": (0,), "Q4_0": (0,), "Q5_0": (0,), "Q4_1": (0, 2), "Q5_1": (0, 2),
    "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
}  # fmt: skip


def packed(
    machine: Machine, format: str, stored: Tensor, columns: int, stored_format: str | None = None
) -> Packed:
    into = aligned_bytes(machine.packed_bytes(format, len(stored), columns)).fill_(0xA5)
    return machine.pack(format, stored, columns, into, stored_format=stored_format)


@pytest.mark.parametrize("format", ROUNDED)
@pytest.mark.parametrize("stored_format", STORED)
def test_rounding_into_panels_equals_rounding_and_then_packing(
    machine: Machine, format: str, stored_format: str
) -> None:
    stored = some_rows(stored_format)
    values = format_named(stored_format).dequantize(stored)
    twice = values if format == stored_format else None
    expected = stored if twice is not None else format_named(format).quantize(values)
    found = packed(machine, format, stored, COLUMNS, stored_format)
    assert torch.equal(found.panels, packed(machine, format, expected, COLUMNS).panels)


@pytest.mark.parametrize("format", ["Q8_0", "Q4_0"])
@settings(max_examples=200, deadline=None)
@given(values=st.lists(st.floats(width=32, allow_nan=False), min_size=32, max_size=32))
def test_any_finite_group_is_rounded_as_by_the_twin(
    machine: Machine, format: str, values: list[float]
) -> None:
    row = torch.tensor([values])
    if not row.isfinite().all():
        return
    found = packed(machine, format, row.view(torch.uint8), 32, "F32")
    block = format_named(format)
    twin = block.dequantize(block.quantize(row))
    looked_up = machine.embed(found, torch.tensor([0]))
    # Where a scale is no fp16 number nothing is left, of either kind.
    assert torch.equal(looked_up.isfinite(), twin.isfinite())
    finite = twin.isfinite()
    torch.testing.assert_close(looked_up[finite], twin[finite], rtol=2**-22, atol=0)


def test_halves_go_away_from_zero(machine: Machine) -> None:
    row = torch.tensor([[127.0, 0.5, -0.5, 1.5, -1.5, 2.5, 126.5, -126.5] * 4])
    found = machine.embed(
        packed(machine, "Q8_0", row.view(torch.uint8), 32, "F32"), torch.tensor([0])
    )
    expected = torch.tensor([127.0, 1, -1, 2, -2, 3, 127, -127] * 4)
    assert torch.equal(found[0], expected)


@pytest.mark.parametrize("damage", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("format", ROUNDED)
def test_a_group_that_is_not_finite_stays_so(machine: Machine, format: str, damage: float) -> None:
    row = torch.ones(1, 64)
    row[0, 40] = damage
    found = packed(machine, format, row.view(torch.uint8), 64, "F32")
    values = machine.embed(found, torch.tensor([0]))
    assert values[0, :32].isfinite().all()
    assert not values[0, 40].isfinite()


def test_nothing_becomes_nothing(machine: Machine) -> None:
    for format in ROUNDED:
        found = packed(machine, format, torch.zeros(3, 64).view(torch.uint8), 64, "F32")
        assert not machine.embed(found, torch.arange(3)).any()


@pytest.mark.parametrize("format", FORMATS)
def test_a_matrix_packed_in_parts_is_the_matrix_packed_whole(machine: Machine, format: str) -> None:
    stored = some_rows(format)
    whole = packed(machine, format, stored, COLUMNS).panels
    parts = [packed(machine, format, part, COLUMNS).panels for part in stored.split(PANEL_ROWS)]
    assert len(parts) == 3
    assert torch.equal(torch.cat(parts), whole)


def test_what_has_no_rounding_is_refused(machine: Machine) -> None:
    with pytest.raises(ValueError, match="not rounded"):
        packed(machine, "Q5_0", some_rows("Q4_0"), COLUMNS, "Q4_0")


def test_panels_of_another_layout_have_another_version(machine: Machine) -> None:
    """Panels are kept on disk: whoever changes them raises `kLayoutVersion`, and this digest."""
    digest = hashlib.sha256()
    for format in FORMATS:
        row_bytes = format_named(format).row_bytes(COLUMNS)
        stored = (torch.arange(ROWS * row_bytes) * 37 % 251).to(torch.uint8).view(ROWS, row_bytes)
        digest.update(packed(machine, format, stored, COLUMNS).panels.numpy())
    for format in ROUNDED:
        values = (torch.arange(ROWS * COLUMNS) * 37 % 251 - 125).float().view(ROWS, COLUMNS) / 64
        stored = values.view(torch.uint8)
        digest.update(packed(machine, format, stored, COLUMNS, "F32").panels.numpy())
    assert (machine.layout_version, digest.hexdigest()[:16]) == (1, "9c7be533035600fe")

"""Products with packed weights of any shape: the plain twin's values, in bits that stay."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tongwen.kernels.machine import Machine, instruction_sets
from tongwen.kernels.memory import aligned_bytes
from tongwen.kernels.panels import FORMATS, Packed
from tongwen.quant.format import format_named

native = pytest.importorskip("tongwen.kernels._native", reason="no native kernels were built")

_HALVES = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
"""Where a block's fp16 factors stand, if not at 0 alone."""


class Shape(NamedTuple):
    """Of products that share an input."""

    tokens: int
    columns: int
    outputs: list[int]
    biased: bool
    gap: int
    """Values between two rows of the input."""

    seed: int


def shapes(format: str) -> st.SearchStrategy[Shape]:
    step = format_named(format).block_size if format.endswith("K") else 32
    return st.builds(
        Shape,
        tokens=st.integers(1, 300),
        columns=st.integers(1, 1024 // step).map(lambda count: count * step),
        outputs=st.lists(st.integers(1, 200), min_size=1, max_size=4),
        biased=st.booleans(),
        gap=st.integers(0, 5),
        seed=st.integers(0, 2**31),
    )


def some_rows(format: str, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Stored rows with any codes, whose factors are finite and of sensible size."""
    block = format_named(format)
    if format == "BF16":
        return torch.randn(rows, columns, generator=generator).bfloat16().view(torch.uint8)
    shape = (rows, columns // block.block_size, block.block_bytes)
    stored = torch.randint(0, 256, shape, generator=generator)
    for low in _HALVES.get(format, (0,)):  # the upper byte of each fp16: 2^-7 to 2^-5, either sign
        stored[..., low + 1] = (0x20 + stored[..., low + 1] % 8) | (stored[..., low + 1] & 0x80)
    return stored.flatten(1).to(torch.uint8)


class Case:
    """Stored weights, their biases, and an input whose rows lie apart."""

    def __init__(self, format: str, shape: Shape) -> None:
        generator = torch.Generator().manual_seed(shape.seed)
        self.format, self.columns = format, shape.columns
        wide = torch.randn(shape.tokens, shape.columns + shape.gap, generator=generator)
        self.x = wide[:, : shape.columns]
        self.stored = [some_rows(format, n, shape.columns, generator) for n in shape.outputs]
        self.biases = [
            torch.randn(n, generator=generator) if shape.biased else None for n in shape.outputs
        ]

    def packed(self, machine: Machine) -> list[Packed]:
        return [self._packed(machine, rows) for rows in self.stored]

    def _packed(self, machine: Machine, rows: Tensor) -> Packed:
        size = machine.packed_bytes(self.format, len(rows), self.columns)
        return machine.pack(self.format, rows, self.columns, aligned_bytes(size))

    def run(self, machine: Machine, first: int = 0, last: int | None = None) -> Tensor:
        """All products of some rows, side by side."""
        outs = machine.linear(self.x[first:last], self.packed(machine), self.biases)
        return torch.cat(outs, dim=1)

    def expected(self) -> tuple[Tensor, Tensor]:
        """The plain twin in float64, and the sums of its terms' magnitudes."""
        block = format_named(self.format)
        seen = (self.x.bfloat16() if self.format == "BF16" else in_8_bits(self.x)).double()
        exact, magnitudes = [], []
        for rows, bias in zip(self.stored, self.biases, strict=True):
            weight = block.dequantize(rows).double()
            added = torch.zeros(len(rows)) if bias is None else bias
            exact.append(seen @ weight.T + added)
            magnitudes.append(self._magnitudes(seen, weight) + added.abs())
        return torch.cat(exact, dim=1), torch.cat(magnitudes, dim=1)

    def _magnitudes(self, seen: Tensor, weight: Tensor) -> Tensor:
        """Of a format with minima each term is the difference of two that may be larger."""
        factor = 4 if self.format in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else 1
        largest = weight.abs().amax(1) if factor > 1 else torch.zeros(len(weight))
        return factor * (seen.abs() @ weight.abs().T + seen.abs().sum(1, keepdim=True) * largest)


def in_8_bits(x: Tensor) -> Tensor:
    """Groups of 32 with one scale each: what a native product makes of its input."""
    groups = x.unflatten(-1, (-1, 32))
    top = groups.abs().amax(-1, keepdim=True)
    inverse = torch.tensor(127.0) / top  # `127 / top` would round the reciprocal first
    return ((groups * inverse).round() * (top / 127)).flatten(-2)


@pytest.fixture(scope="module", params=instruction_sets())
def machine(request: pytest.FixtureRequest) -> Machine:
    """The kernels of each instruction set that this processor has."""
    found = Machine(native, request.param)
    if not found.isa.startswith(request.param):
        pytest.skip(f"this processor runs `{found.isa}` where `{request.param}` is asked for")
    return found


@pytest.fixture(scope="module")
def portable() -> Machine:
    return Machine(native, "portable")


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_products_of_any_shape_are_their_plain_twins(
    machine: Machine, format: str, data: st.DataObject
) -> None:
    case = Case(format, data.draw(shapes(format)))
    exact, magnitudes = case.expected()
    # up to 32 groups, or 1024 columns of bfloat16 two at a time, each sum rounded in float32
    bound = (2**-18 if format == "BF16" else 2**-20) * magnitudes + 2**-20
    assert ((case.run(machine) - exact).abs() <= bound).all()


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_rows_of_any_product_have_the_same_bits_among_any_others(
    machine: Machine, format: str, data: st.DataObject
) -> None:
    case = Case(format, data.draw(shapes(format)))
    whole = case.run(machine)
    for _ in range(4):
        first = data.draw(st.integers(0, len(whole) - 1))
        last = data.draw(st.integers(first + 1, len(whole)))
        assert torch.equal(case.run(machine, first, last), whole[first:last])


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "BF16"])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_products_of_whole_numbers_have_one_set_of_bits_on_all_instruction_sets(
    machine: Machine, portable: Machine, format: str, data: st.DataObject
) -> None:
    case = Case(format, data.draw(shapes(format)))
    assert torch.equal(case.run(machine), case.run(portable))

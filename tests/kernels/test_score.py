"""Log-probabilities without all logits: the bits of those from all of them."""

import pytest
import torch
from torch import Tensor

from tongwen.kernels.machine import SCORED_ROWS, Machine, instruction_sets
from tongwen.kernels.memory import aligned_bytes
from tongwen.kernels.panels import Packed
from tongwen.model.heads import PackedLanguageHead
from tongwen.model.stream import Stream
from tongwen.quant.format import format_named

native = pytest.importorskip("tongwen.kernels._native", reason="no native kernels were built")

DIM, TILE = 64, native.scored_logits


@pytest.fixture(params=instruction_sets())
def machine(request: pytest.FixtureRequest) -> Machine:
    """The kernels of each instruction set that this processor has."""
    found = Machine(native, request.param)
    if not found.isa.startswith(request.param):
        pytest.skip(f"this processor runs `{found.isa}` where `{request.param}` is asked for")
    return found


def some_head(machine: Machine, format: str, vocab: int, spread: float = 1.0) -> Packed:
    stored = format_named(format).quantize(torch.randn(vocab, DIM) * spread)
    into = aligned_bytes(machine.packed_bytes(format, vocab, DIM))
    return machine.pack(format, stored, DIM, into)


def from_all(machine: Machine, hidden: Tensor, head: Packed, targets: Tensor) -> Tensor:
    logits = machine.linear(hidden, [head], [None])[0]
    chosen = logits.gather(1, targets.unsqueeze(1)).squeeze(1)
    return (chosen.double() - machine.logsumexp(logits)).float()


@pytest.mark.parametrize("format", ["Q8_0", "Q4_0", "BF16"])
@pytest.mark.parametrize("vocab", [1, 130, 256, TILE, TILE + 1, 2 * TILE + 777])
def test_scores_have_the_bits_of_those_from_all_logits(
    machine: Machine, format: str, vocab: int
) -> None:
    torch.manual_seed(vocab)
    head = some_head(machine, format, vocab)
    for rows in (1, 4, 5, 37):
        hidden, targets = torch.randn(rows, DIM), torch.randint(vocab, (rows,))
        found = machine.logprobs(hidden, head, targets)
        assert torch.equal(found, from_all(machine, hidden, head, targets))
        assert bool((found <= 0).all())


def test_more_rows_than_are_scored_together(machine: Machine) -> None:
    torch.manual_seed(1)
    rows, vocab = SCORED_ROWS + 3, 300
    head = some_head(machine, "Q8_0", vocab)
    hidden, targets = torch.randn(rows, DIM), torch.randint(vocab, (rows,))
    expected = from_all(machine, hidden, head, targets)
    assert torch.equal(machine.logprobs(hidden, head, targets), expected)
    every_other = torch.randn(2 * rows, DIM)[::2].copy_(hidden)
    assert torch.equal(machine.logprobs(every_other, head, targets), expected)
    assert machine.logprobs(hidden[:0], head, targets[:0]).shape == (0,)


def test_logits_far_apart_neither_overflow_nor_vanish(machine: Machine) -> None:
    """The largest comes in a later tile: what was added before is worth less, or nothing."""
    torch.manual_seed(2)
    vocab = 2 * TILE
    head = some_head(machine, "BF16", vocab, spread=20.0)
    hidden, targets = torch.randn(9, DIM), torch.randint(vocab, (9,))
    found = machine.logprobs(hidden, head, targets)
    assert torch.equal(found, from_all(machine, hidden, head, targets))
    logits = machine.linear(hidden, [head], [None])[0].double()
    exact = logits.log_softmax(-1)[torch.arange(9), targets]
    assert found.min() < -300
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_has_no_score(machine: Machine, damage: float) -> None:
    torch.manual_seed(3)
    head = some_head(machine, "Q4_0", TILE + 5)
    hidden, targets = torch.randn(6, DIM), torch.arange(6)
    hidden[2, 7] = damage
    found = machine.logprobs(hidden, head, targets)
    assert found.isnan().tolist() == [False, False, True, False, False, False]


@pytest.mark.parametrize("target", [-1, 130])
def test_a_target_that_is_no_token_is_refused(machine: Machine, target: int) -> None:
    head = some_head(machine, "Q8_0", 130)
    with pytest.raises(IndexError, match=f"{target}.*130 rows"):
        machine.logprobs(torch.randn(1, DIM), head, torch.tensor([target]))


def test_gradients_are_refused(machine: Machine) -> None:
    head = some_head(machine, "Q8_0", 130)
    hidden = torch.randn(1, DIM, requires_grad=True)
    with pytest.raises(RuntimeError, match="no backward"):
        machine.logprobs(hidden, head, torch.tensor([3]))


def test_the_packed_head_scores_as_its_logits_say(machine: Machine) -> None:
    torch.manual_seed(4)
    weight = some_head(machine, "Q8_0", 130)
    head = PackedLanguageHead(machine, weight)
    hidden, targets = torch.randn(7, DIM), torch.randint(130, (7,))
    stream = Stream(attend=NoAttention())
    found = head.logprobs(hidden, targets, stream)
    assert torch.equal(found, from_all(machine, hidden, weight, targets))
    exact = head(hidden, stream).double().log_softmax(-1)[torch.arange(7), targets]
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)


class NoAttention:
    """A head connects no tokens."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise AssertionError("a head attends to nothing")

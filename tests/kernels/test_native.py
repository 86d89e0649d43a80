"""The native kernels against their plain twins, and the bits that must not move."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tongwen.kernels.attention import causal_attention
from tongwen.kernels.machine import Machine, instruction_sets
from tongwen.kernels.memory import Ring, aligned_bytes
from tongwen.kernels.panels import FORMATS, Packed
from tongwen.kernels.rope import rotate
from tongwen.quant.format import format_named

native = pytest.importorskip("tongwen.kernels._native", reason="no native kernels were built")

COLUMNS, ROWS = 512, 130  # two superblocks; a last panel of two rows


@pytest.fixture(params=instruction_sets())
def machine(request: pytest.FixtureRequest) -> Machine:
    """The kernels of each instruction set that this processor has."""
    found = Machine(native, request.param)
    if not found.isa.startswith(request.param):
        pytest.skip(f"this processor runs `{found.isa}` where `{request.param}` is asked for")
    return found


def random_rows(format: str, rows: int, columns: int) -> Tensor:
    """Stored rows of `format` with finite scales of sensible size."""
    block = format_named(format)
    if format == "BF16":
        return torch.randn(rows, columns).bfloat16().view(torch.uint8)
    stored = torch.randint(0, 256, (rows, columns // block.block_size, block.block_bytes))
    for low in _HALVES[format]:  # the upper byte of each fp16: between 2^-7 and 2^-5
        stored[..., low + 1] = 0x20 + stored[..., low + 1] % 8
    return stored.flatten(1).to(torch.uint8)


_HALVES = {
    "Q8_0": (0,), "Q4_0": (0,), "Q5_0": (0,), "Q4_1": (0, 2), "Q5_1": (0, 2),
    "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
}  # fmt: skip


def packed(machine: Machine, format: str, stored: Tensor, columns: int) -> Packed:
    into = aligned_bytes(machine.packed_bytes(format, len(stored), columns))
    return machine.pack(format, stored, columns, into)


def rounded_to_8_bits(x: Tensor) -> Tensor:
    """Groups of 32 with one scale each: what a native product makes of its input."""
    groups = x.unflatten(-1, (-1, 32))
    top = groups.abs().amax(-1, keepdim=True)
    codes = (groups * torch.where(top > 0, 127 / top, 0)).round()
    return (codes * (top / 127)).flatten(-2)


@pytest.mark.parametrize("format", FORMATS)
def test_products_equal_those_of_the_dequantized_weights(machine: Machine, format: str) -> None:
    torch.manual_seed(0)
    stored, x = random_rows(format, ROWS, COLUMNS), torch.randn(7, COLUMNS)
    bias = torch.randn(ROWS)
    weights = format_named(format).dequantize(stored).double()
    out = machine.linear(x, [packed(machine, format, stored, COLUMNS)], [bias])[0]
    seen = x.bfloat16() if format == "BF16" else rounded_to_8_bits(x)
    expected = seen.double() @ weights.T + bias.double()
    # float32 sums of 16 groups, each product rounded twice
    scale = seen.double().abs() @ weights.abs().T
    assert ((out - expected).abs() <= 2**-20 * scale + 2**-20).all()


@pytest.mark.parametrize("format", FORMATS)
def test_a_row_has_the_same_bits_among_any_number_of_rows(machine: Machine, format: str) -> None:
    torch.manual_seed(1)
    weight = packed(machine, format, random_rows(format, ROWS, COLUMNS), COLUMNS)
    x = torch.randn(37, COLUMNS)
    whole = machine.linear(x, [weight], [None])[0]
    for rows in (1, 2, 3, 4, 5, 8, 36):
        for first in (0, 1, 37 - rows):
            part = x[first : first + rows].contiguous()
            assert torch.equal(
                machine.linear(part, [weight], [None])[0], whole[first : first + rows]
            )


def test_a_row_has_the_same_bits_in_any_chunk_of_rows(machine: Machine) -> None:
    torch.manual_seed(1)
    weight = packed(machine, "Q6_K", random_rows("Q6_K", ROWS, COLUMNS), COLUMNS)
    x = torch.randn(1027, COLUMNS)  # 512 are summed at a time
    whole = machine.linear(x, [weight], [None])[0]
    for first in (0, 510, 1024):
        assert torch.equal(
            machine.linear(x[first : first + 3], [weight], [None])[0], whole[first : first + 3]
        )


def test_projections_that_share_an_input_equal_each_alone(machine: Machine) -> None:
    torch.manual_seed(2)
    weights = [
        packed(machine, format, random_rows(format, rows, COLUMNS), COLUMNS)
        for format, rows in (("Q5_0", 128), ("Q8_0", 64), ("Q4_K", 70))
    ]
    for tokens in (1, 9):
        x = torch.randn(tokens, COLUMNS)
        together = machine.linear(x, weights, [None] * 3)
        for weight, out in zip(weights, together, strict=True):
            assert torch.equal(out, machine.linear(x, [weight], [None])[0])


@pytest.mark.parametrize(
    "formats", [("Q4_K", "Q4_K", "Q6_K"), ("Q5_0", "Q8_0", "BF16"), ("BF16",) * 3]
)
def test_a_gated_network_equals_its_parts(machine: Machine, formats: tuple[str, str, str]) -> None:
    torch.manual_seed(2)
    shapes = ((2 * COLUMNS, COLUMNS), (2 * COLUMNS, COLUMNS), (ROWS, 2 * COLUMNS))
    gate, up, down = (
        packed(machine, format, random_rows(format, *shape), shape[1])
        for format, shape in zip(formats, shapes, strict=True)
    )
    for tokens in (0, 1, 4, 9, 515):  # 512 rows are summed at a time
        x = torch.randn(tokens, 2 * COLUMNS)[:, :COLUMNS]
        hidden = machine.swiglu(*machine.linear(x, [gate, up], [None] * 2))
        parts = machine.linear(hidden, [down], [None])[0]
        assert torch.equal(machine.mlp(x, gate, up, down), parts)


@pytest.mark.parametrize("format", FORMATS)
def test_an_embedding_is_looked_up_exactly(machine: Machine, format: str) -> None:
    torch.manual_seed(3)
    stored = random_rows(format, ROWS, COLUMNS)
    ids = torch.tensor([0, 1, 63, 64, 129])
    found = machine.embed(packed(machine, format, stored, COLUMNS), ids)
    expected = format_named(format).dequantize(stored)[ids].float()
    torch.testing.assert_close(found, expected, rtol=2**-22, atol=0)


def test_norm_swiglu_and_addition_equal_their_twins(machine: Machine) -> None:
    torch.manual_seed(4)
    x, y, weight = torch.randn(5, 96) * 3, torch.randn(5, 96), torch.randn(96)
    wide = x.double()
    norm = weight.double() * wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(machine.norm(x, weight, 1e-6).double(), norm, rtol=2e-6, atol=1e-7)
    swiglu = torch.nn.functional.silu(x.double()) * y.double()
    torch.testing.assert_close(machine.swiglu(x, y).double(), swiglu, rtol=2e-6, atol=1e-7)
    assert torch.equal(machine.add(x, y), x + y)


def test_extreme_gates_neither_overflow_nor_vanish_wrongly(machine: Machine) -> None:
    gate = torch.tensor([-1e4, -100.0, -80.0, 0.0, 80.0, 100.0, 1e4, 3.0] * 4).view(1, 32)
    out = machine.swiglu(gate, torch.ones(1, 32))
    torch.testing.assert_close(out, torch.nn.functional.silu(gate), rtol=1e-5, atol=1e-30)


class Cached:
    """A request's keys and values in a native cache whose blocks lie out of order."""

    def __init__(self, machine: Machine, tokens: int, heads: int, kv_heads: int, dims: int) -> None:
        torch.manual_seed(tokens)
        self.machine, self.tokens, self.kv_heads = machine, tokens, kv_heads
        self.q = torch.randn(tokens, heads, dims)
        self.k, self.v = torch.randn(2, tokens, kv_heads, dims).unbind()
        blocks = -(-tokens // 32)
        self.table = torch.randperm(blocks + 3)[:blocks].unsqueeze(0)
        self.store = torch.full((blocks + 3, 2 * 32 * kv_heads * dims), torch.nan).bfloat16()
        angles = torch.randn(tokens, dims // 2)
        self.angles = torch.stack((angles.cos(), angles.sin()), dim=1).contiguous()

    def attend(self, first: int, last: int, window: int | None = None) -> Tensor:
        """Write tokens `first` to `last` and read what they see."""
        positions = torch.arange(first, last)
        slots = self.table[0, positions // 32] * 32 + positions % 32
        q = self.q[first:last].clone()
        k, v = (x[first:last].contiguous() for x in (self.k, self.v))
        self.machine.rope(
            q, k, v, angles=self.angles, positions=positions, slots=slots, cache=self.store
        )
        return self.machine.attention(
            q,
            kv_heads=self.kv_heads,
            window=window,
            cache=self.store,
            starts=torch.tensor([0, last - first]),
            context_lens=torch.tensor([last]),
            block_tables=self.table,
        )

    def expected(self, window: int | None = None) -> Tensor:
        """The same in float64, from operands rounded to bfloat16 where the kernels round."""
        cos, sin = (a.repeat(1, 2) for a in self.angles.unbind(1))
        rotation = torch.stack((cos, sin))
        scale = self.q.shape[-1] ** -0.5
        q = (rotate(self.q, rotation) * scale).bfloat16().double() / scale
        k, v = rotate(self.k, rotation).bfloat16().double(), self.v.bfloat16().double()
        return causal_attention(q, k, v, window)


@pytest.mark.parametrize("dims", [64, 128])
@pytest.mark.parametrize("window", [None, 40, 150], ids="window={}".format)
@pytest.mark.parametrize("tokens", [1, 31, 129, 300], ids="tokens={}".format)
def test_attention_equals_its_twin(
    machine: Machine, tokens: int, window: int | None, dims: int
) -> None:
    cached = Cached(machine, tokens, heads=6, kv_heads=2, dims=dims)
    found = cached.attend(0, tokens, window)
    # the weights of the sum are rounded to bfloat16: 2^-9 of values of size one
    assert (found - cached.expected(window)).abs().max() < 2**-6


@pytest.mark.parametrize("chunk", [1, 7, 32, 100], ids="chunk={}".format)
def test_attention_has_the_same_bits_in_any_chunks(machine: Machine, chunk: int) -> None:
    whole = Cached(machine, 200, heads=14, kv_heads=2, dims=64).attend(0, 200)
    cached = Cached(machine, 200, heads=14, kv_heads=2, dims=64)
    parts = [cached.attend(i, min(i + chunk, 200)) for i in range(0, 200, chunk)]
    assert torch.equal(torch.cat(parts), whole)


def test_a_replayed_step_equals_the_step(machine: Machine) -> None:
    torch.manual_seed(5)
    weight = packed(machine, "Q8_0", random_rows("Q8_0", 64, 64), 64)
    norm, x = torch.randn(64), torch.randn(3, 64)

    def step() -> Tensor:
        y = machine.linear(machine.norm(x, norm, 1e-6), [weight], [None])[0]
        return machine.add(x, machine.swiglu(y, y))

    with machine.record(Ring(10_000)) as recording:
        recorded = step()
    assert torch.equal(recorded, step())
    x.copy_(torch.randn(3, 64))
    recording.replay()
    assert torch.equal(recorded, step())


DAMAGE = (torch.nan, torch.inf, -torch.inf)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("format", FORMATS)
def test_what_is_not_finite_is_never_quantized_away(
    machine: Machine, format: str, damage: float
) -> None:
    torch.manual_seed(6)
    weight = packed(machine, format, random_rows(format, ROWS, COLUMNS), COLUMNS)
    for tokens in (1, 7):
        x = torch.randn(tokens, COLUMNS)
        before = machine.linear(x, [weight], [None])[0]
        for column in (0, 17, COLUMNS - 1):
            damaged = x.clone()
            damaged[0, column] = damage
            out = machine.linear(damaged, [weight], [None])[0]
            assert not out[0].isfinite().any()
            assert torch.equal(out[1:], before[1:])


@pytest.mark.parametrize("where", ["q", "k", "v"])
def test_attention_over_nan_is_nan(machine: Machine, where: str) -> None:
    cached = Cached(machine, 200, heads=2, kv_heads=1, dims=64)
    getattr(cached, where)[70, 0, 5] = torch.nan
    out = cached.attend(0, 200)
    if where == "q":  # of one head, and nobody else reads it
        assert out[70, 0].isnan().all()
        assert out[:70].isfinite().all()
        assert out[71:].isfinite().all()
    else:
        assert out[70:].isnan().any(-1).all()
        assert out[:68].isfinite().all()  # beyond its tile of rows


def test_no_rows_give_no_rows(machine: Machine) -> None:
    weight = packed(machine, "Q8_0", random_rows("Q8_0", 64, 64), 64)
    assert machine.linear(torch.empty(0, 64), [weight], [None])[0].shape == (0, 64)


def test_a_dense_product_has_the_same_bits_among_any_number_of_rows(machine: Machine) -> None:
    torch.manual_seed(7)
    x, weight = torch.randn(37, 96), torch.randn(5, 96)
    whole = machine.dense(x, weight)
    torch.testing.assert_close(whole.double(), x.double() @ weight.double().T, rtol=1e-5, atol=1e-5)
    for row in range(37):
        assert torch.equal(machine.dense(x[row : row + 1].contiguous(), weight)[0], whole[row])


def test_keys_beyond_the_window_add_exactly_nothing(machine: Machine) -> None:
    """A row that sees only zeros reads zero, whatever its neighbours see."""
    cached = Cached(machine, 140, heads=1, kv_heads=1, dims=64)
    cached.v[:130] = 1e30
    cached.v[130:] = 0.0
    assert cached.attend(0, 140, window=1)[130:].eq(0).all()


def test_what_another_thread_does_is_not_recorded(machine: Machine) -> None:
    torch.manual_seed(6)
    x, y = torch.randn(2, 32), torch.randn(2, 32)
    with machine.record(Ring(1_000)) as recording:
        machine.add(x, y)
        other = threading.Thread(target=machine.swiglu, args=(x, y))
        other.start()
        other.join()
    assert recording.num_operations == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_child_of_a_fork_computes_alone(machine: Machine) -> None:
    x = torch.randn(64, 64)
    expected = machine.norm(x, torch.ones(64), 1e-6)
    if (child := os.fork()) == 0:
        os._exit(0 if torch.equal(machine.norm(x, torch.ones(64), 1e-6), expected) else 1)
    for _ in range(100):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        pytest.fail("the child hangs")
    assert status == 0


def last_processor(thread_id: int) -> int:
    """Where a thread of this process last ran (proc(5), the 39th field of `stat`)."""
    stat = Path(f"/proc/self/task/{thread_id}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[36])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's /proc")
def test_threads_on_one_processor_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    allowed, before = os.sched_getaffinity(0), set(os.listdir("/proc/self/task"))
    if len(allowed) < 2:
        pytest.skip("this process may use one processor only")
    machine = Machine(native, instruction_sets()[0])
    (worker,) = (int(name) for name in set(os.listdir("/proc/self/task")) - before)
    x = torch.randn(256, 4096)
    here = {min(allowed)}
    machine.swiglu(x, x)  # behind the worker's start, which looks for a place of its own too

    def runs_until(arrived: Callable[[], bool]) -> bool:
        """Whether it is so within a thousand runs: a crew that waited once may leave some out."""
        for _ in range(1_000):
            machine.swiglu(x, x)
            if arrived():
                return True
        return False

    try:
        os.sched_setaffinity(0, here)
        os.sched_setaffinity(worker, here)
        assert runs_until(lambda: last_processor(worker) in here)
        for _ in range(50):
            machine.swiglu(x, x)
        assert last_processor(worker) in here  # it may not leave
        assert os.sched_getaffinity(worker) == here
        os.sched_setaffinity(worker, allowed)
        assert runs_until(lambda: last_processor(worker) not in here)
        assert os.sched_getaffinity(worker) == allowed
    finally:
        os.sched_setaffinity(0, allowed)

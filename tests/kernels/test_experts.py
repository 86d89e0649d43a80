"""A mixture's experts in one operation, against one after the other."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from tongwen.kernels.machine import Machine, instruction_sets
from tongwen.kernels.memory import aligned_bytes
from tongwen.kernels.moe import Routing, add_gated, open_gate, route
from tongwen.kernels.panels import FORMATS, Packed
from tongwen.kernels.threads import torch_on_one_thread
from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config
from tongwen.model.linear import PackedLinear
from tongwen.model.mlp import MLP, Experts, PackedExperts, can_be_one
from tongwen.model.stream import Stream
from tongwen.quant.format import format_named

native = pytest.importorskip("tongwen.kernels._native", reason="no native kernels were built")

DIM, FFN, NUM_EXPERTS, TOP_K = 256, 288, 5, 2
MIXED = [(format, format, format) for format in FORMATS]
MIXED += [("Q4_K", "Q5_0", "Q6_K"), ("Q8_0", "Q4_0", "BF16"), ("BF16", "BF16", "Q4_0")]
ROUNDED = {"BF16": "BF16", "Q8_0": "Q8_0", "Q4_0": "Q4_0"}


@pytest.fixture(autouse=True)
def _one_thread_for_torch() -> Iterator[None]:
    with torch_on_one_thread():
        yield


@pytest.fixture(params=instruction_sets())
def machine(request: pytest.FixtureRequest) -> Machine:
    """The kernels of each instruction set that this processor has."""
    found = Machine(native, request.param)
    if not found.isa.startswith(request.param):
        pytest.skip(f"this processor runs `{found.isa}` where `{request.param}` is asked for")
    return found


def some_matrix(machine: Machine, format: str, rows: int, columns: int) -> Packed:
    """Random values in panels of `format`, by way of a block format that rounds them."""
    block = format_named(format)
    values = torch.randn(rows, columns) / columns**0.5
    stored = block.quantize(values) if format in ROUNDED else random_blocks(format, rows, columns)
    into = aligned_bytes(machine.packed_bytes(format, rows, columns))
    return machine.pack(format, stored, columns, into)


def random_blocks(format: str, rows: int, columns: int) -> Tensor:
    """Any codes; the fp16 factors of a block between 2^-7 and 2^-5."""
    block = format_named(format)
    stored = torch.randint(0, 256, (rows, columns // block.block_size, block.block_bytes))
    for low in {"Q5_0": (0,), "Q6_K": (208,)}.get(format, (0, 2)):
        stored[..., low + 1] = 0x20 + stored[..., low + 1] % 8
    return stored.flatten(1).to(torch.uint8)


def made(machine: Machine, formats: tuple[str, str, str], ffn: int = FFN) -> Experts:
    """Packed experts that are called one by one."""
    gate, up, down = formats
    with torch.device("meta"):
        experts = Experts(MLP(DIM, ffn) for _ in range(NUM_EXPERTS))
    for expert in experts:
        for name, format, rows, columns in (
            ("gate_proj", gate, ffn, DIM),
            ("up_proj", up, ffn, DIM),
            ("down_proj", down, DIM, ffn),
        ):
            weight = some_matrix(machine, format, rows, columns)
            setattr(expert, name, PackedLinear(machine, weight))
    return experts


def whole_groups(formats: tuple[str, str, str]) -> int:
    """A width that the format of down knows: a last panel of 32 columns where it may be."""
    return 512 if formats[2].endswith("K") else FFN


def stream(tokens: int) -> Stream:
    config = Qwen2Config(
        vocab_size=8, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=64,
        rope_theta=1e4, rms_norm_eps=1e-6, tie_word_embeddings=True,
    )  # fmt: skip
    return Stream(attend=PackedCausal([tokens], config))


def plain_route(logits: Tensor, top_k: int, renormalize: bool = False) -> Routing:
    """In float64, which the native kernels do not take."""
    rows, weights, counts = route(logits.double(), top_k, renormalize)
    return Routing(rows, weights.float(), counts)


@pytest.mark.parametrize("formats", MIXED, ids="-".join)
def test_all_at_once_have_the_bits_of_one_by_one(
    machine: Machine, formats: tuple[str, str, str]
) -> None:
    torch.manual_seed(0)
    experts = made(machine, formats, whole_groups(formats))
    at_once = PackedExperts(experts)
    for tokens in (1, 3, 11, 200):
        x, routing = torch.randn(tokens, DIM), plain_route(torch.randn(tokens, NUM_EXPERTS), TOP_K)
        expected = experts(x, routing, stream(tokens))
        assert expected.isfinite().all()
        assert torch.equal(at_once(x, routing, stream(tokens)), expected)


@pytest.mark.parametrize("format", FORMATS)
def test_a_token_has_the_same_bits_alone_and_in_any_crowd(machine: Machine, format: str) -> None:
    torch.manual_seed(1)
    formats = (format, format, format)
    experts = PackedExperts(made(machine, formats, whole_groups(formats)))
    x, logits = torch.randn(70, DIM), torch.randn(70, NUM_EXPERTS)
    logits[:, 1] += 3  # nearly everyone goes there: beyond the rows of one piece
    whole = experts(x, route(logits, TOP_K, False), stream(70))
    for first, last in ((0, 1), (69, 70), (3, 5), (1, 8), (30, 70)):
        some = experts(x[first:last], route(logits[first:last], TOP_K, False), stream(1))
        assert torch.equal(some, whole[first:last])


def test_an_expert_that_nobody_asks_is_not_asked(machine: Machine) -> None:
    """Its weights may be anything."""
    torch.manual_seed(2)
    experts = made(machine, ("BF16", "BF16", "BF16"))
    experts[3].down_proj.packed.panels.fill_(0xFF)  # NaN
    x, logits = torch.randn(9, DIM), torch.randn(9, NUM_EXPERTS)
    logits[:, 3] = -9
    assert PackedExperts(experts)(x, route(logits, TOP_K, False), stream(9)).isfinite().all()
    logits[4, 3] = 9
    found = PackedExperts(experts)(x, route(logits, TOP_K, False), stream(9)).isfinite().all(-1)
    assert found.tolist() == [True] * 4 + [False] + [True] * 4


@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_its_row(machine: Machine, damage: float) -> None:
    torch.manual_seed(3)
    experts = PackedExperts(made(machine, ("Q4_0", "Q4_0", "Q4_0")))
    x, routing = torch.randn(9, DIM), route(torch.randn(9, NUM_EXPERTS), TOP_K, False)
    before = experts(x, routing, stream(9))
    x[4, 17] = damage
    after = experts(x, routing, stream(9))
    assert not after[4].isfinite().any()
    assert torch.equal(after[[0, 1, 2, 3, 5, 6, 7, 8]], before[[0, 1, 2, 3, 5, 6, 7, 8]])


def test_no_tokens_ask_nobody(machine: Machine) -> None:
    experts = PackedExperts(made(machine, ("Q8_0", "Q8_0", "Q8_0")))
    routing = route(torch.empty(0, NUM_EXPERTS), TOP_K, False)
    assert experts(torch.empty(0, DIM), routing, stream(1)).shape == (0, DIM)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _: None, True),
        (lambda experts: setattr(experts[2], "up_proj", torch.nn.Identity()), False),
        (lambda experts: _repack(experts[4], "down_proj", "Q8_0", DIM, FFN), False),
        (lambda experts: [_repack(e, "up_proj", "BF16", FFN, DIM) for e in experts], False),
        (lambda experts: [_repack(e, "down_proj", "BF16", DIM, FFN) for e in experts], True),
    ],
    ids=["alike", "one unpacked", "one in another format", "two forms of input", "down in another"],
)
def test_experts_become_one_where_they_are_alike(
    change: Callable[[Experts], object], expected: bool
) -> None:
    experts = made(Machine(native, "portable"), ("Q4_0", "Q4_0", "Q4_0"))
    change(experts)
    assert can_be_one(experts) == expected


def _repack(expert: MLP, name: str, format: str, rows: int, columns: int) -> None:
    machine = Machine(native, "portable")
    setattr(expert, name, PackedLinear(machine, some_matrix(machine, format, rows, columns)))


@pytest.mark.parametrize("renormalize", [False, True])
@pytest.mark.parametrize("tokens", [0, 1, 2, 65])
def test_natively_tokens_go_where_the_plain_twin_sends_them(
    machine: Machine, tokens: int, renormalize: bool
) -> None:
    torch.manual_seed(4)
    for logits in (torch.randn(tokens, 64), torch.randint(-2, 3, (tokens, 64)).float()):
        rows, weights, counts = machine.route(logits, 8, renormalize)
        expected = plain_route(logits, 8, renormalize)
        assert torch.equal(rows, expected.rows)
        assert torch.equal(counts, expected.counts)
        # a softmax in float64, rounded; eight of them added and divided by that in float32
        torch.testing.assert_close(weights, expected.weights, rtol=2**-20, atol=0)


@pytest.mark.parametrize("damage", [torch.nan, torch.inf, -torch.inf])
def test_a_router_that_is_not_finite_gives_weights_that_are_not(
    machine: Machine, damage: float
) -> None:
    logits = torch.zeros(3, 6)
    logits[1, 4] = damage
    rows, weights, counts = machine.route(logits, 2, False)
    assert int(counts.sum()) == len(rows) == 6
    assert weights.isnan().equal(rows == 1)
    plain = plain_route(logits, 2)
    assert plain.weights.isnan().equal(plain.rows == 1)


def test_a_gated_sum_equals_its_twin(machine: Machine) -> None:
    torch.manual_seed(5)
    x, y = torch.randn(2, 9, 96).unbind()
    scores = torch.tensor([-1e4, -100.0, -1.0, 0.0, 3.0, 100.0, torch.nan, torch.inf, -torch.inf])
    scores = scores.unsqueeze(1)
    found = machine.add_gated(x, y, scores)
    expected = x.double() + open_gate(scores.double()) * y
    torch.testing.assert_close(found.double(), expected, rtol=2**-22, atol=2**-22, equal_nan=True)
    assert torch.equal(found[0], x[0])
    assert found[6:].isnan().all(), "a gate that is not finite is not hidden"
    assert torch.equal(machine.add_gated(x[3:4], y[3:4], scores[3:4]), found[3:4])


def test_without_native_kernels_a_gated_sum_is_the_formula() -> None:
    x, y = torch.randn(2, 5, 32, dtype=torch.float64).unbind()
    score = torch.randn(5, 1, dtype=torch.float64)
    assert torch.equal(add_gated(x, y, score), x + open_gate(score) * y)

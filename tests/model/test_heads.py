"""Logits, log-probabilities, rewards and vectors of chosen rows."""

import pytest
import torch
from torch import Tensor

from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config
from tongwen.model.heads import LanguageHead, RewardHead, last_rows, mean_pool
from tongwen.model.stream import Stream


@pytest.fixture
def stream(tiny_config: Qwen2Config) -> Stream:
    return Stream(attend=PackedCausal([1], tiny_config))


def filled(head: LanguageHead | RewardHead) -> LanguageHead | RewardHead:
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    return head


def hidden(rows: int, dim: int = 6) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rows", [0, 1, 300])
def test_logprobs_are_gathered_from_the_log_softmax(stream: Stream, rows: int) -> None:
    head, x = filled(LanguageHead(6, 11)).double(), hidden(rows).double()
    targets = torch.arange(rows) % 11
    expected = head(x, stream).log_softmax(-1)[torch.arange(rows), targets]
    got = head.logprobs(x, targets, stream)
    assert got.shape == (rows,)
    assert torch.allclose(got, expected, rtol=0, atol=1e-13)


def test_a_language_head_is_a_product_with_its_weight(stream: Stream) -> None:
    head, x = filled(LanguageHead(6, 11)), hidden(4)
    expected = (x[:, None] * head.weight).sum(-1)
    assert (head(x, stream) - expected).abs().max() < 6 * 2**-22
    assert head.bfloat16()(x.bfloat16(), stream).dtype == torch.bfloat16


def test_a_reward_is_one_float32_number_a_row(stream: Stream) -> None:
    head, x = filled(RewardHead(6)).bfloat16(), hidden(4).bfloat16()
    rewards = head(x, stream)
    assert rewards.shape == (4,)
    assert rewards.dtype == torch.float32
    exact = (x.double() * head.weight.double()).sum(-1)
    assert (rewards - exact).abs().max() < 6 * 2**-22


def test_a_reward_learns_in_its_own_dtype(stream: Stream) -> None:
    head = filled(RewardHead(6)).double()
    assert torch.autograd.gradcheck(
        lambda x: head(x, stream), (hidden(3).double().requires_grad_(),)
    )


def test_last_rows_end_each_sequence() -> None:
    assert last_rows([3, 1, 4]).tolist() == [2, 3, 7]


def test_the_mean_pools_each_sequence_alone() -> None:
    x = hidden(8).bfloat16()
    pooled = mean_pool(x, [3, 1, 4])
    assert pooled.dtype == torch.float32
    expected = torch.stack([x[:3].float().mean(0), x[3].float(), x[4:].float().mean(0)])
    assert torch.equal(pooled, expected)

"""`PackedCausal`: the documents of a stream are strangers to each other."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tongwen.model.attention import PackedCausal
from tongwen.model.config import Qwen2Config
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream

WINDOWED = {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}


@pytest.fixture(scope="module", params=["full", "windowed"])
def model(
    request: pytest.FixtureRequest,
    tiny_config: Qwen2Config,
    random_model: Callable[[Qwen2Config], Qwen2ForCausalLM],
) -> Qwen2ForCausalLM:
    changes = WINDOWED if request.param == "windowed" else {}
    return random_model(replace(tiny_config, **changes))


@torch.no_grad()
def logits(model: Qwen2ForCausalLM, ids: Tensor, lengths: list[int]) -> Tensor:
    attend = PackedCausal(lengths, model.config, dtype=torch.float64)
    return model(ids, Stream(attend=attend))


def some_ids(count: int) -> Tensor:
    return torch.randint(160, (count,), generator=torch.Generator().manual_seed(count))


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_a_pack_is_each_document_alone(model: Qwen2ForCausalLM, lengths: list[int]) -> None:
    ids = some_ids(sum(lengths))
    packed = logits(model, ids, lengths)
    alone = [logits(model, part, [len(part)]) for part in ids.split(lengths)]
    # Other row counts may take other paths through a matrix product: float64 roundings, 3 layers.
    assert (packed - torch.cat(alone)).abs().max() < 1e-12


def test_documents_of_a_pack_do_not_see_each_other(model: Qwen2ForCausalLM) -> None:
    ids = some_ids(15)
    other = ids.clone()
    other[5:9] = (other[5:9] + 1) % 160
    before, after = logits(model, ids, [5, 4, 6]), logits(model, other, [5, 4, 6])
    assert torch.equal(before[:5], after[:5])
    assert torch.equal(before[9:], after[9:])
    assert bool((before[5:9] != after[5:9]).any(-1).all())


def test_a_token_sees_itself_and_nothing_later(model: Qwen2ForCausalLM) -> None:
    ids = some_ids(8)
    other = ids.clone()
    other[4] = (other[4] + 1) % 160
    changed = (logits(model, ids, [8]) != logits(model, other, [8])).any(-1)
    assert changed.tolist() == [False] * 4 + [True] * 4


def test_a_windowed_layer_forgets(
    tiny_config: Qwen2Config, random_model: Callable[[Qwen2Config], Qwen2ForCausalLM]
) -> None:
    config = replace(
        tiny_config,
        num_hidden_layers=1,
        use_sliding_window=True,
        sliding_window=3,
        max_window_layers=0,
    )
    model, ids = random_model(config), some_ids(8)
    other = ids.clone()
    other[2] = (other[2] + 1) % 160
    changed = (logits(model, ids, [8]) != logits(model, other, [8])).any(-1)
    assert changed.tolist() == [False] * 2 + [True] * 3 + [False] * 3


def test_gradients_of_a_pack_are_the_sum_of_its_documents(model: Qwen2ForCausalLM) -> None:
    ids, lengths = some_ids(11), [4, 1, 6]

    def gradient(ids: Tensor, lengths: list[int]) -> Tensor:
        attend = PackedCausal(lengths, model.config, dtype=torch.float64)
        loss = model(ids, Stream(attend=attend)).square().sum()
        (grad,) = torch.autograd.grad(loss, [model.model.layers[0].self_attn.k_proj.weight])
        return grad

    packed = gradient(ids, lengths)
    alone = sum((gradient(part, [len(part)]) for part in ids.split(lengths)), torch.zeros(()))
    assert (packed - alone).abs().max() < 1e-12 * packed.abs().max() * len(ids)

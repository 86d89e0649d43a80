"""Routing: who works on what, with which weight, in which order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.kernels.moe import Routing, route


def as_pairs(routing: Routing) -> list[tuple[int, int, float]]:
    """(expert, token, weight) in the order in which the pairs lie."""
    experts = torch.repeat_interleave(torch.arange(len(routing.counts)), routing.counts)
    columns = (experts.tolist(), routing.rows.tolist(), routing.weights.tolist())
    return list(zip(*columns, strict=True))


logits_lists = st.integers(1, 6).flatmap(
    lambda experts: st.lists(
        st.lists(st.integers(-3, 3), min_size=experts, max_size=experts), min_size=1, max_size=5
    )
)


@settings(deadline=None)
@given(logits_lists, st.integers(1, 6), st.booleans())
def test_each_token_goes_to_its_most_probable_experts(
    rows: list[list[int]], top_k: int, renormalize: bool
) -> None:
    """Integer logits: ties everywhere."""
    logits = torch.tensor(rows, dtype=torch.float64)
    top_k = min(top_k, logits.shape[1])
    expected = []
    for token, scores in enumerate(rows):
        chosen = sorted(range(len(scores)), key=lambda e: (-scores[e], e))[:top_k]
        probs = logits[token].softmax(-1)
        whole = float(probs[chosen].sum()) if renormalize else 1.0
        expected += [(e, token, float(probs[e]) / whole) for e in chosen]
    got = as_pairs(route(logits, top_k, renormalize))
    assert [pair[:2] for pair in got] == sorted(pair[:2] for pair in expected)
    assert [w for *_, w in got] == pytest.approx([w for *_, w in sorted(expected)], abs=1e-15)


def test_ties_go_to_the_lowest_id() -> None:
    routing = route(torch.zeros(1, 64), 8, renormalize=False)
    assert routing.counts.nonzero().flatten().tolist() == list(range(8))
    assert routing.weights.tolist() == [1 / 64] * 8


def test_eight_of_sixty_four_probabilities_do_not_sum_to_one() -> None:
    logits = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    sums = torch.zeros(10).index_add(0, *route(logits, 8, renormalize=False)[:2])
    assert bool((sums < 0.9).all())
    sums = torch.zeros(10).index_add(0, *route(logits, 8, renormalize=True)[:2])
    assert (sums - 1).abs().max() < 8 * 2**-23


def test_gradients_flow_through_the_weights() -> None:
    logits = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits.requires_grad_()
    for renormalize in (False, True):
        assert torch.autograd.gradcheck(lambda x, r=renormalize: route(x, 3, r).weights, (logits,))

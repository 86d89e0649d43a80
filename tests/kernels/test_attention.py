"""Causal attention against an explicit softmax in float64."""

import math

import pytest
import torch
from torch import Tensor

from tongwen.kernels.attention import causal_attention, visible


def explicit(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """Softmax over what each query sees, one query and one head at a time, in float64."""
    q, k, v = q.double(), k.double(), v.double()
    group, past = q.shape[1] // k.shape[1], len(k) - len(q)
    out = torch.empty_like(q)
    for i in range(len(q)):
        first = 0 if window is None else max(past + i - window + 1, 0)
        seen = slice(first, past + i + 1)
        for head in range(q.shape[1]):
            scores = k[seen, head // group] @ q[i, head] / math.sqrt(q.shape[-1])
            out[i, head] = scores.softmax(0) @ v[seen, head // group]
    return out


def qkv(queries: int, context: int, heads: int, kv_heads: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(queries * 1000 + context)
    shapes = ((queries, heads, 16), (context, kv_heads, 16), (context, kv_heads, 16))
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("window", [None, 1, 3, 9, 100])
@pytest.mark.parametrize(
    ("queries", "context"), [(1, 1), (1, 9), (9, 9), (4, 9), (1, 40), (33, 40)]
)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (4, 1)])
def test_attention_is_a_softmax_over_what_is_visible(
    queries: int, context: int, heads: int, kv_heads: int, window: int | None
) -> None:
    q, k, v = qkv(queries, context, heads, kv_heads, torch.float64)
    got = causal_attention(q, k, v, window)
    # Sums of 16 and of at most 40 float64 terms of size 1.
    assert (got - explicit(q, k, v, window)).abs().max() < 1e-13


@pytest.mark.parametrize(("queries", "context"), [(1, 40), (40, 40), (5, 40)])
def test_huge_keys_in_bfloat16_are_summed_in_float32(queries: int, context: int) -> None:
    q, k, v = qkv(queries, context, 4, 2, torch.bfloat16)
    k[..., 0] += 400.0  # shifts every score of a query by the same 100 q[0]: softmax cancels it
    got = causal_attention(q, k, v)
    # Scores of about 100: float32 sums err by 16 * 100 * 2**-24 = 1e-4, bfloat16 ones by up to 1.
    # What remains is the rounding of probabilities and of the result, 2**-8 of values up to 3.
    assert (got.double() - explicit(q, k, v, None)).abs().max() < 2 * 3 * 2**-8
    assert got.dtype == torch.bfloat16


def test_float16_scores_beyond_its_range_do_not_overflow() -> None:
    q, k, v = qkv(3, 8, 2, 2, torch.float16)
    q[..., 0], k[..., 0] = 600.0, 400.0  # a product of 240,000; float16 ends at 65,504
    got = causal_attention(q, k, v)
    assert bool(got.isfinite().all())
    assert (got.double() - explicit(q, k, v, None)).abs().max() < 2 * 3 * 2**-10


def test_a_chunk_of_queries_reads_what_all_queries_read() -> None:
    q, k, v = qkv(30, 30, 4, 2, torch.float64)
    for window in (None, 7):
        whole = causal_attention(q, k, v, window)
        parts = [
            causal_attention(q[i:j], k[:j], v[:j], window)
            for i, j in ((0, 1), (1, 13), (13, 29), (29, 30))
        ]
        assert (torch.cat(parts) - whole).abs().max() < 1e-14


def test_the_visible_mask_ends_at_the_query_itself() -> None:
    mask = visible(2, 5, 3, torch.device("cpu"))
    assert mask.int().tolist() == [[0, 1, 1, 1, 0], [0, 0, 1, 1, 1]]


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("queries", [1, 3, 5])
def test_attention_has_the_gradient_of_its_definition(queries: int, window: int | None) -> None:
    q, k, v = (x.requires_grad_() for x in qkv(queries, 5, 4, 2, torch.float64))
    assert torch.autograd.gradcheck(lambda *x: causal_attention(*x, window), (q, k, v))

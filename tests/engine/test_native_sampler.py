"""The native sampler against its definition, `sample`, row by row."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.test_sampler import GREEDY, PLAIN, chi_square
from torch import Tensor

from tongwen.engine.params import Sampling
from tongwen.engine.sampler import (
    COLDEST,
    Choice,
    Chooser,
    Sample,
    bitmask,
    candidates,
    choose,
    edit,
    gumbel,
    sample,
)
from tongwen.kernels.loss import token_logprobs
from tongwen.kernels.machine import machine
from tongwen.kernels.sampling import NONE_ALLOWED, NOT_FINITE

pytestmark = pytest.mark.skipif(machine() is None, reason="there are no native kernels")

NEAR = 1e-5
"""Relative; float32 sums of some hundred probabilities in two orders differ by less."""


def native(logits: Tensor, choices: Sequence[Choice], num_tokens: int) -> list[Sample]:
    return choose(logits.clone(), choices, num_tokens)


def is_borderline(logits: Tensor, choice: Choice, num_tokens: int) -> bool:
    """Whether rounding decides which tokens are kept, or which kept one is the largest."""
    sampling = choice.chooser.sampling
    edited = edit(logits[:num_tokens].double(), choice)
    if sampling.temperature < COLDEST:
        best = edited.topk(min(2, num_tokens)).values
        return bool((best[0] - best[-1]).abs() <= NEAR * max(1.0, abs(float(best[0]))))
    scaled = edited / sampling.temperature
    order = scaled.sort(descending=True).values
    if 0 < sampling.top_k < len(order):
        kth = order[sampling.top_k - 1]
        near = (order - kth).abs() <= NEAR * max(1.0, abs(float(kth)))
        if near.sum() > 1:
            return True
        order = order[: sampling.top_k]
    probs = order.softmax(-1)
    near_p = (probs.cumsum(-1) - sampling.top_p).abs().min() < NEAR
    near_min_p = ((probs / probs[0] - sampling.min_p).abs() < NEAR * sampling.min_p).any()
    ids, kept = candidates(edited, sampling)
    noisy = (kept + gumbel(sampling.seed, choice.position, ids)).topk(min(2, len(ids))).values
    close = (noisy[0] - noisy[-1]).abs() <= NEAR * max(1.0, abs(float(noisy[0])))
    return (
        (sampling.top_p < 1 and bool(near_p))
        or (sampling.min_p > 0 and bool(near_min_p))
        or (len(ids) > 1 and bool(close))
    )


def check_row(logits: Tensor, choice: Choice, num_tokens: int, got: Sample) -> bool:
    """Assert that the choice is right; whether it is the definition's own."""
    plain = sample(logits, choice, num_tokens)
    if plain.token_id < 0 or got.token_id < 0:
        assert got.token_id == plain.token_id
        assert math.isnan(got.logprob)
        assert math.isnan(plain.logprob)
        return True
    assert 0 <= got.token_id < num_tokens
    wanted = torch.tensor([got.token_id])
    exact = logits.double().log_softmax(-1)[got.token_id].item()
    assert got.logprob == pytest.approx(exact, abs=1e-5, rel=2e-7)  # float32 holds 24 bits
    assert got.logprob == token_logprobs(logits.unsqueeze(0), wanted).item()
    same = got.token_id == plain.token_id
    assert same or is_borderline(logits, choice, num_tokens)
    if same:
        assert got.top == plain.top
    return same


rows = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.floats(-20, 20, width=32)),
    min_size=1,
    max_size=40,
).map(lambda row: torch.tensor(row, dtype=torch.float32))


def wishes(vocab: int) -> dict[str, st.SearchStrategy[Any]]:
    """Any parameters for `vocab` tokens."""
    ids = st.lists(st.integers(0, vocab - 1), max_size=8).map(tuple)
    biases = st.dictionaries(st.integers(0, vocab - 1), st.floats(-9, 9), max_size=8)
    return {
        "temperature": st.sampled_from((0.0, 1e-12, 0.3, 0.7, 1.0, 2.5, 100.0)),
        "top_p": st.sampled_from((1.0, 1.0, 0.999, 0.8, 0.3, 0.0)),
        "top_k": st.sampled_from((0, 0, 1, 2, 5, 39, 1000)),
        "min_p": st.sampled_from((0.0, 0.0, 0.05, 0.5, 1.0)),
        "repetition_penalty": st.sampled_from((1.0, 1.1, 0.5, 3.0)),
        "presence_penalty": st.sampled_from((0.0, 0.7, -1.5)),
        "frequency_penalty": st.sampled_from((0.0, 0.3, -0.4)),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "logprobs": st.sampled_from((None, 0, 3)),
        "min_tokens": st.integers(0, 4),
        "logit_bias": biases.map(lambda chosen: tuple(chosen.items())),
        "bad_token_ids": ids,
        "allowed_token_ids": st.one_of(st.none(), st.none(), ids),
    }


@settings(max_examples=500, deadline=None)
@given(rows, st.data())
def test_a_native_choice_is_the_definitions(logits: Tensor, data: st.DataObject) -> None:
    num_tokens = data.draw(st.integers(1, len(logits)))  # what lies beyond is padding
    ids = st.lists(st.integers(0, len(logits) - 1), max_size=8)
    stops, prompt, completion = data.draw(st.tuples(ids, ids, ids))
    sampling = Sampling(**data.draw(st.fixed_dictionaries(wishes(len(logits)))))
    chooser = Chooser(sampling, stops, len(logits))
    chooser.count(prompt, generated=False)
    chooser.count(completion, generated=True)
    choice = Choice(chooser, data.draw(st.integers(0, 2**40)), chooser.allowed)
    (got,) = native(logits.unsqueeze(0), [choice], num_tokens)
    check_row(logits, choice, num_tokens, got)


KINDS = [
    GREEDY,
    PLAIN,
    replace(PLAIN, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.1),
    replace(PLAIN, top_p=0.9),
    replace(PLAIN, temperature=5.0, top_p=0.97),
    replace(PLAIN, min_p=0.02, presence_penalty=0.5, frequency_penalty=0.2),
    replace(PLAIN, top_k=300, top_p=0.5, min_p=0.001),
    replace(GREEDY, repetition_penalty=1.3, min_tokens=9, logprobs=5),
]


def crowd(vocab: int, seed: int) -> list[Choice]:
    """A choice of each kind, whose requests hold tokens of their own."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for place, kind in enumerate(KINDS):
        held = torch.randint(0, vocab, (2, 300), generator=generator).tolist()
        chooser = Chooser(replace(kind, seed=seed + place), held[0][:3], vocab)
        chooser.count(held[0], generated=False)
        chooser.count(held[1][: place * 30], generated=True)
        allowed = bitmask(range(place, vocab, 2), vocab) if place % 3 == 1 else None
        made.append(Choice(chooser, 1000 * seed + place, allowed))
    return made


@pytest.mark.parametrize(("vocab", "padding"), [(264, 7), (1000, 0), (5003, 300)])
def test_rounding_hardly_ever_decides(vocab: int, padding: int) -> None:
    agreed = total = 0
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        logits = 4 * torch.randn(len(KINDS), vocab, generator=generator)
        asked = crowd(vocab, seed)
        for row, choice, got in zip(
            logits, asked, native(logits, asked, vocab - padding), strict=True
        ):
            agreed += check_row(row, choice, vocab - padding, got)
            total += 1
    assert agreed >= 0.99 * total, f"{agreed} of {total}"


@pytest.mark.parametrize(("vocab", "num_tokens"), [(151_936, 151_646), (152_064, 151_665)])
def test_native_choices_of_the_real_size_are_the_definitions(vocab: int, num_tokens: int) -> None:
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        logits = 3 * torch.randn(len(KINDS), vocab, generator=generator)
        logits[:, num_tokens:] += 60.0  # padding must not be chosen however large it is
        asked = crowd(vocab, seed)
        samples = native(logits, asked, num_tokens)
        for row, choice, got in zip(logits, asked, samples, strict=True):
            check_row(row, choice, num_tokens, got)


@pytest.mark.parametrize("vocab", [1, 31, 256, 257, 600])
def test_of_equal_logits_the_lowest_id_is_greedy(vocab: int) -> None:
    logits = torch.zeros(2, vocab)
    logits[1, vocab // 2 :] = 1.0
    chosen = native(logits, [Choice(Chooser(GREEDY), 0)] * 2, vocab)
    assert [one.token_id for one in chosen] == [0, vocab // 2]


def test_ties_with_the_kth_stay() -> None:
    logits = torch.zeros(600)
    seen = {
        native(logits.unsqueeze(0), [Choice(Chooser(replace(PLAIN, top_k=2)), position)], 600)[
            0
        ].token_id
        for position in range(60)
    }
    assert len(seen) > 40


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 255, 256, 511, 598, 599])
def test_a_row_that_is_not_finite_is_named_and_no_other(value: float, place: int) -> None:
    logits = torch.randn(3, 600, generator=torch.Generator().manual_seed(place))
    logits[1, place] = value  # 598 and 599 are padding
    for sampling in (GREEDY, PLAIN, replace(PLAIN, top_p=0.5)):
        asked = [Choice(Chooser(sampling), 3)] * 3
        chosen = native(logits, asked, 598)
        assert [one.token_id == NOT_FINITE for one in chosen] == [False, True, False]
        assert math.isnan(chosen[1].logprob)
        assert sample(logits[1], asked[1], 598).token_id == NOT_FINITE


@pytest.mark.parametrize("sampling", KINDS)
def test_where_everything_is_forbidden_nothing_is_chosen(sampling: Sampling) -> None:
    logits = torch.randn(2, 600, generator=torch.Generator().manual_seed(1))
    masked = Choice(Chooser(sampling, (), 600), 5, bitmask((590, 599), 600))
    banned = Chooser(replace(sampling, bad_token_ids=tuple(range(589)), min_tokens=1), [589], 600)
    for got in native(logits, [masked, Choice(banned, 5)], 590):
        assert got.token_id == NONE_ALLOWED
    banned.count([3], generated=True)  # `min_tokens` are written: 589 may come
    (got,) = native(logits[1:], [Choice(banned, 5)], 590)
    assert got.token_id == 589 or sampling.min_tokens > 1


def test_a_mask_that_does_not_cover_the_vocabulary_is_refused() -> None:
    with pytest.raises(AssertionError, match="a mask covers every token"):
        native(torch.zeros(1, 600), [Choice(Chooser(GREEDY), 0, np.zeros(18, np.uint32))], 600)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e30])
def test_log_probabilities_of_rows_of_any_length_are_torchs(scale: float) -> None:
    for length in (*range(1, 70), 255, 256, 257, 511, 513, 1000, 151_643, 151_936):
        generator = torch.Generator().manual_seed(length)
        logits = scale * torch.randn(2, length, generator=generator)
        targets = torch.randint(0, length, (2,), generator=generator)
        exact = logits.double().log_softmax(-1).gather(1, targets.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(
            token_logprobs(logits, targets).double(), exact, atol=1e-5, rtol=2e-7
        )


def test_a_rows_bits_do_not_depend_on_its_neighbours_nor_on_threads() -> None:
    from tongwen.kernels import _native

    logits = 5 * torch.randn(33, 5003, generator=torch.Generator().manual_seed(4))
    found = machine()
    assert found is not None
    together = found.logsumexp(logits)
    for first, last in ((0, 1), (4, 7), (20, 33)):
        assert torch.equal(found.logsumexp(logits[first:last]), together[first:last])
    for threads in (1, 2, 5):
        other = _native.Machine(found.isa, threads)
        out = torch.empty(33, dtype=torch.float64)
        other.logsumexp(logits.data_ptr(), logits.stride(0), *logits.shape, out.data_ptr())
        assert torch.equal(out, together)


def test_choices_do_not_depend_on_the_rows_beside_them() -> None:
    logits = 3 * torch.randn(len(KINDS), 1000, generator=torch.Generator().manual_seed(5))
    together = native(logits, crowd(1000, 5), 990)
    alone = [
        native(logits[row : row + 1], crowd(1000, 5)[row : row + 1], 990)[0]
        for row in range(len(KINDS))
    ]
    assert alone == together


FILTERED = {
    "all": PLAIN,
    "warm": replace(PLAIN, temperature=2.0),
    "top_k": replace(PLAIN, top_k=4),
    "top_p": replace(PLAIN, top_p=0.7),
    "min_p": replace(PLAIN, min_p=0.2),
}


@pytest.mark.parametrize("kind", FILTERED)
def test_native_tokens_are_drawn_with_their_probabilities(kind: str) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, 1.5, -0.5, 0.0])
    sampling = replace(FILTERED[kind], seed=77)
    chooser = Chooser(sampling)
    asked = [Choice(chooser, position) for position in range(20_000)]
    chosen = native(logits.repeat(len(asked), 1), asked, 8)
    observed = torch.tensor([one.token_id for one in chosen]).bincount(minlength=8).double()
    ids, kept = candidates(logits.double(), sampling)
    expected = torch.zeros(8, dtype=torch.float64).index_copy(0, ids, kept.softmax(-1))
    assert observed[expected == 0].sum() == 0
    left = expected > 0
    # At most 7 degrees of freedom: 40.5 is exceeded once in a million.
    assert chi_square(observed[left], expected[left]) < 40.5

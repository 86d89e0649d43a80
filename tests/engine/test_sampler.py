"""From logits to a token: against transformers' processors, OpenAI's formula and statistics."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from tongwen.engine.params import Sampling
from tongwen.engine.sampler import (
    Choice,
    Chooser,
    Sample,
    TokenCounts,
    bitmask,
    candidates,
    edit,
    gumbel,
    penalize,
    sample,
)

PLAIN = Sampling(
    temperature=1.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    repetition_penalty=1.0,
    presence_penalty=0.0,
    frequency_penalty=0.0,
    seed=0,
    logprobs=None,
)
GREEDY = replace(PLAIN, temperature=0.0)

# Few distinct values: ties are common.
logits_rows = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.floats(-8, 8, width=32)), min_size=1, max_size=24
).map(lambda row: torch.tensor(row, dtype=torch.float64))


def chooser_of(
    sampling: Sampling, prompt: Sequence[int] = (), completion: Sequence[int] = ()
) -> Chooser:
    chooser = Chooser(sampling)
    chooser.count(prompt, generated=False)
    chooser.count(completion, generated=True)
    return chooser


def sampled(
    logits: Tensor,
    sampling: Sampling,
    position: int = 0,
    *,
    prompt: Sequence[int] = (),
    completion: Sequence[int] = (),
    num_tokens: int | None = None,
) -> Sample:
    choice = Choice(chooser_of(sampling, prompt, completion), position)
    return sample(logits, choice, len(logits) if num_tokens is None else num_tokens)


def draw(logits: Tensor, sampling: Sampling, position: int = 0) -> int:
    return sampled(logits, sampling, position).token_id


def counted(prompt: list[int], completion: list[int]) -> TokenCounts:
    counts = TokenCounts()
    for token_id in prompt:
        counts.add(token_id, generated=False)
    for token_id in completion:
        counts.add(token_id, generated=True)
    return counts


def warped(logits: Tensor, sampling: Sampling) -> Tensor:
    """What transformers leaves of a row; -inf where it drops a token."""
    steps = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0:
        steps.append(MinPLogitsWarper(sampling.min_p))
    return steps(torch.zeros(1, 1, dtype=torch.long), logits.unsqueeze(0)).squeeze(0)


def is_borderline(logits: Tensor, sampling: Sampling) -> bool:
    """Whether rounding decides top-p or min-p: then either answer is right."""
    scaled = logits / sampling.temperature
    if 0 < sampling.top_k < len(scaled):
        scaled = scaled[scaled >= scaled.topk(sampling.top_k).values[-1]]
    probs = scaled.softmax(-1).sort(descending=True).values
    near_p = (probs.cumsum(-1) - sampling.top_p).abs().min() < 1e-9
    near_min_p = ((probs / probs[0])[probs < probs[0]] - sampling.min_p).abs() < 1e-9
    return bool(near_p) or bool(near_min_p.any())


@settings(max_examples=300, deadline=None)
@given(
    logits_rows,
    st.floats(0.1, 3.0),
    st.integers(0, 30),
    st.one_of(st.just(1.0), st.floats(0.01, 0.999)),
    st.one_of(st.just(0.0), st.floats(0.01, 1.0)),
)
def test_candidates_are_those_that_transformers_leaves(
    logits: Tensor, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    sampling = replace(PLAIN, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    assume(top_p == 1.0 or not is_borderline(logits, sampling))
    assume(min_p == 0.0 or not is_borderline(logits, replace(sampling, top_p=2.0)))
    ids, left = candidates(logits, sampling)
    theirs = warped(logits, sampling)
    kept = theirs[theirs.isfinite()]
    # Of equal logits at the edge of top-p theirs keeps any, ours the lowest ids: values are equal.
    assert left.sort().values.tolist() == kept.sort().values.tolist()
    assert left.tolist() == (logits / temperature)[ids].tolist()
    if len(set(logits.tolist())) == len(logits):
        assert sorted(ids.tolist()) == theirs.isfinite().nonzero().flatten().tolist()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=24, unique=True),
    st.floats(0.1, 3.0),
    st.integers(0, 30),
    st.floats(0.01, 0.999),
)
def test_typical_tokens_are_those_of_transformers(
    row: list[float], temperature: float, top_k: int, typical_p: float
) -> None:
    logits = torch.tensor(row, dtype=torch.float64)
    sampling = replace(PLAIN, temperature=temperature, top_k=top_k, typical_p=typical_p)
    filtered = warped(logits, replace(sampling, typical_p=1.0)).unsqueeze(0)
    logprobs = filtered.log_softmax(-1).squeeze(0)
    distance = (logprobs + logprobs.exp() @ logprobs.nan_to_num(neginf=0.0).neg()).abs()
    nearest = distance.sort()
    # Of tokens equally near theirs keeps all, ours the lowest ids; and rounding may decide.
    assume(not bool((nearest.values.diff().nan_to_num(1.0) < 1e-9).any()))
    reached = logprobs.exp()[nearest.indices].cumsum(-1)
    assume(not bool(((reached - typical_p).abs() < 1e-9).any()))
    theirs = TypicalLogitsWarper(typical_p)(torch.zeros(1, 1, dtype=torch.long), filtered)
    ids, _ = candidates(logits, sampling)
    assert sorted(ids.tolist()) == theirs.squeeze(0).isfinite().nonzero().flatten().tolist()


@settings(max_examples=150, deadline=None)
@given(logits_rows, st.data(), st.floats(0.1, 4.0))
def test_the_repetition_penalty_is_that_of_transformers(
    logits: Tensor, data: st.DataObject, penalty: float
) -> None:
    tokens = st.lists(st.integers(0, len(logits) - 1), min_size=1, max_size=10)
    prompt, completion = data.draw(tokens), data.draw(tokens)
    sampling = replace(PLAIN, repetition_penalty=penalty)
    got = penalize(logits, sampling, counted(prompt, completion))
    processor = RepetitionPenaltyLogitsProcessor(penalty)
    theirs = processor(torch.tensor([prompt + completion]), logits.unsqueeze(0)).squeeze(0)
    assert got.tolist() == theirs.tolist()


@settings(max_examples=100, deadline=None)
@given(logits_rows, st.data(), st.floats(-2, 2), st.floats(-2, 2))
def test_presence_and_frequency_penalties_are_openais_formula(
    logits: Tensor, data: st.DataObject, presence: float, frequency: float
) -> None:
    tokens = st.lists(st.integers(0, len(logits) - 1), min_size=1, max_size=10)
    prompt, completion = data.draw(tokens), data.draw(tokens)
    sampling = replace(PLAIN, presence_penalty=presence, frequency_penalty=frequency)
    got = penalize(logits, sampling, counted(prompt, completion))
    for token_id, logit in enumerate(logits.tolist()):
        count = completion.count(token_id)
        expected = logit - count * frequency - (count > 0) * presence
        assert got[token_id].item() == pytest.approx(expected, abs=1e-12)


def test_a_penalty_leaves_the_row_that_it_was_given() -> None:
    logits = torch.ones(4)
    sampled(logits, replace(GREEDY, repetition_penalty=2.0), prompt=[1])
    assert logits.tolist() == [1.0] * 4


def test_padding_rows_in_a_prompt_have_no_logit_to_penalize() -> None:
    sampling = replace(GREEDY, repetition_penalty=2.0)
    logits = torch.tensor([1.0, 3.0, 2.0, 9.0, 9.0])
    assert sampled(logits, sampling, prompt=[4, 1], num_tokens=3).token_id == 2


@settings(max_examples=100, deadline=None)
@given(logits_rows)
def test_temperature_zero_takes_the_largest_logit(logits: Tensor) -> None:
    chosen = draw(logits, GREEDY)
    assert logits[chosen] == logits.max()
    assert draw(logits, replace(GREEDY, top_k=3, top_p=0.5, seed=9)) == chosen


@pytest.mark.parametrize("temperature", [1e-320, 1e-45, 1e-12, 1e-6])
def test_a_tiny_temperature_is_greedy_and_does_not_overflow(temperature: float) -> None:
    logits = torch.tensor([1.0, 80.0, 79.9, -500.0])
    for top_p in (1.0, 0.5):
        chosen = [
            draw(logits, replace(PLAIN, temperature=temperature, top_p=top_p, seed=seed))
            for seed in range(20)
        ]
        assert chosen == [1] * 20


def test_a_top_p_of_zero_keeps_the_most_probable() -> None:
    logits = torch.tensor([0.0, 2.0, 1.0])
    assert [draw(logits, replace(PLAIN, top_p=0.0, seed=s)) for s in range(20)] == [1] * 20


def test_padding_rows_are_never_sampled() -> None:
    logits = torch.cat((torch.zeros(5), torch.full((3,), 50.0)))
    for sampling in (GREEDY, PLAIN, replace(PLAIN, top_k=2), replace(PLAIN, top_p=0.5)):
        for position in range(20):
            assert sampled(logits, sampling, position, num_tokens=5).token_id < 5


def test_log_probabilities_are_those_of_the_raw_logits() -> None:
    logits = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = logits.log_softmax(-1)
    sampling = replace(
        PLAIN, temperature=3.0, top_k=7, repetition_penalty=2.0, presence_penalty=1.0, logprobs=4
    )
    chosen = sampled(logits, sampling, 3, prompt=[1, 2], completion=[5], num_tokens=30)
    assert chosen.logprob == pytest.approx(exact[chosen.token_id].item(), abs=1e-14)
    assert chosen.top is not None
    values, ids = exact.topk(4)
    assert list(chosen.top) == ids.tolist()
    assert list(chosen.top.values()) == pytest.approx(values.tolist(), abs=1e-14)


def test_top_logprobs_are_as_many_as_asked_for_or_as_there_are() -> None:
    logits = torch.zeros(6)
    tops = [sampled(logits, replace(GREEDY, logprobs=n)).top for n in (0, 50)]
    assert tops[0] == {}
    assert tops[1] is not None
    assert len(tops[1]) == 6
    assert sampled(logits, GREEDY).top is None


def test_the_same_arguments_give_the_same_token_whatever_else_is_drawn() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1))
    first = [draw(logits, replace(PLAIN, seed=3), position) for position in range(40)]
    torch.manual_seed(99)
    for position in reversed(range(40)):
        draw(torch.zeros(7), replace(PLAIN, seed=8), position)
        assert draw(logits, replace(PLAIN, seed=3), position) == first[position]
    assert len(set(first)) > 10


def test_a_dropped_token_changes_nobody_elses_noise() -> None:
    logits = torch.randn(30, generator=torch.Generator().manual_seed(2))
    kept = set(logits.topk(10).indices.tolist())
    agree = 0
    for position in range(60):
        free = draw(logits, PLAIN, position)
        if free in kept:
            assert draw(logits, replace(PLAIN, top_k=10), position) == free
            agree += 1
    assert agree > 20


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel(-5, 17, torch.arange(40_000))
    assert noise.dtype == torch.float64
    assert bool(noise.isfinite().all())
    deviation = math.pi / math.sqrt(6)
    # Five standard errors; that of the deviation from the kurtosis 5.4: sqrt((5.4 - 1) / 4 n).
    assert abs(noise.mean() - 0.5772156649) < 5 * deviation / 200
    assert abs(noise.std() / deviation - 1) < 5 * math.sqrt(4.4 / 4) / 200
    for quantile in (0.01, 0.25, 0.5, 0.75, 0.99):
        below = (noise < -math.log(-math.log(quantile))).double().mean()
        assert abs(below - quantile) < 5 * math.sqrt(quantile * (1 - quantile)) / 200


def test_noise_of_other_seeds_positions_and_ids_is_unrelated() -> None:
    ids = torch.arange(20_000)
    base = gumbel(1, 1, ids)
    others = {
        "next seed": gumbel(2, 1, ids),
        "next position": gumbel(1, 2, ids),
        "swapped": gumbel(0, 2, ids),
        "next id": gumbel(1, 1, ids + 1),
        "far seed": gumbel(1 - 2**63, 1, ids),
        "far position": gumbel(1, 2**40, ids),
    }
    for name, other in others.items():
        correlation = torch.corrcoef(torch.stack((base, other)))[0, 1]
        assert abs(correlation) < 5 / math.sqrt(20_000), name


def test_noise_depends_on_the_id_and_not_on_its_place() -> None:
    ids = torch.tensor([7, 3, 150_000, 0])
    assert gumbel(4, 5, ids).tolist() == [gumbel(4, 5, ids[i : i + 1]).item() for i in range(4)]


def chi_square(observed: Tensor, probs: Tensor) -> float:
    expected = probs * observed.sum()
    return ((observed - expected).square() / expected).sum().item()


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_tokens_are_drawn_with_their_probabilities(temperature: float) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, 1.5, -0.5, 0.0], dtype=torch.float64)
    sampling = replace(PLAIN, temperature=temperature, seed=123)
    tokens = torch.tensor([draw(logits, sampling, position) for position in range(2000)])
    observed = tokens.bincount(minlength=8).double()
    # Chi-square with 7 degrees of freedom exceeds 40.5 once in a million.
    assert chi_square(observed, (logits / temperature).softmax(-1)) < 40.5
    # Successive positions: 64 cells, at most 63 degrees, and with 63 it is 131.4.
    probs = (logits / temperature).softmax(-1)
    pairs = (tokens[::2] * 8 + tokens[1::2]).bincount(minlength=64).double()
    joint = torch.outer(probs, probs).flatten()
    common = joint * 1000 >= 5  # the approximation needs some of each
    rest = torch.tensor([pairs[~common].sum(), 0.0])[:1]
    cells = torch.cat((pairs[common], rest))
    assert chi_square(cells, torch.cat((joint[common], joint[~common].sum()[None]))) < 131.4


def test_seeds_draw_with_the_same_probabilities_as_positions() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    tokens = torch.tensor([draw(logits, replace(PLAIN, seed=seed)) for seed in range(2000)])
    # 2 degrees of freedom: 27.6 once in a million.
    assert chi_square(tokens.bincount(minlength=3).double(), logits.softmax(-1)) < 27.6


def biased(logits: Tensor, sampling: Sampling, forbidden: Sequence[int] = ()) -> Tensor:
    chooser = Chooser(sampling, forbidden, len(logits))
    return edit(logits, Choice(chooser, 0, chooser.allowed))


def test_biases_are_added_and_bad_tokens_are_never_chosen() -> None:
    logits = torch.arange(5.0)
    sampling = replace(PLAIN, logit_bias=((1, 9.0), (4, -2.0), (3, 50.0)), bad_token_ids=(3,))
    assert biased(logits, sampling).tolist() == [0.0, 10.0, 2.0, -math.inf, 2.0]
    assert logits.tolist() == [0, 1, 2, 3, 4]


def test_nothing_but_allowed_tokens_is_chosen() -> None:
    sampling = replace(PLAIN, allowed_token_ids=(0, 33, 39), bad_token_ids=(33,))
    assert biased(torch.zeros(40), sampling).isfinite().nonzero().flatten().tolist() == [0, 39]


def test_a_bias_comes_before_the_penalties() -> None:
    chooser = chooser_of(replace(PLAIN, repetition_penalty=2.0, logit_bias=((0, -3.0),)), [0])
    assert edit(torch.ones(2), Choice(chooser, 0)).tolist() == [-4.0, 1.0]


def test_ends_are_forbidden_until_enough_is_written() -> None:
    chooser = Chooser(replace(PLAIN, min_tokens=2), [1], 3)
    chooser.count([0] * 9, generated=False)
    seen = []
    for _ in range(4):
        seen.append(edit(torch.zeros(3), Choice(chooser, 0))[1].item())
        chooser.count([0], generated=True)
    assert seen == [-math.inf, -math.inf, 0.0, 0.0]


@given(st.sets(st.integers(0, 99)))
def test_a_bitmask_has_a_bit_for_each_token(token_ids: set[int]) -> None:
    words = bitmask(token_ids, 100)
    assert len(words) == 4
    assert {i for i in range(128) if int(words[i // 32]) >> (i % 32) & 1} == token_ids

"""Drafts make a completion come sooner and change nothing of it."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.engine.admission import Admission
from tongwen.engine.completion import Completion
from tongwen.engine.engine import Engine
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Request
from tongwen.engine.speculate import Index, PromptLookup, Trust
from tongwen.model.qwen2 import Qwen2ForCausalLM

Make = Callable[..., Engine]
Run = Callable[..., list[Completion]]
Models = dict[str, Qwen2ForCausalLM]

ROUND = [3, 14, 15, 92, 65, 35]


class Counting(PromptLookup):
    """Counts what was drafted and what was right."""

    def __init__(self, **settings: int) -> None:
        super().__init__(**settings)
        self.drafted = self.right = 0

    def learn(self, request: Request, num_drafts: int, num_right: int) -> None:
        assert 0 <= num_right <= num_drafts
        self.drafted += num_drafts
        self.right += num_right
        super().learn(request, num_drafts, num_right)


class Oracle:
    """Drafts what is known to come, spoiling some of it."""

    def __init__(self, futures: dict[int, list[int]], spoil: Sequence[bool]) -> None:
        self.futures, self.spoil, self.turn = futures, spoil, 0
        self.right = 0

    def propose(self, requests: Sequence[Request]) -> None:
        for request in requests:
            future = self.futures.get(request.chooser.sampling.seed, [])
            written = len(request.token_ids)
            room = min(5, request.max_tokens - written - 1)
            drafts = future[written : written + max(room, 0)]
            for place in range(len(drafts)):
                self.turn += 1
                drafts[place] ^= self.spoil[self.turn % len(self.spoil)]
            request.draft_ids = drafts

    def learn(self, request: Request, num_drafts: int, num_right: int) -> None:
        self.right += num_right


def drawn(seed: int, temperature: float = 0.9, **asked: object) -> SamplingParams:
    settled = {"temperature": temperature, "seed": seed, "max_tokens": 20, "ignore_eos": True}
    return SamplingParams(**{**settled, **asked})  # type: ignore[arg-type]


def one_of(repeating: bool, seed: int) -> SamplingParams:
    """Greedy or drawn; biased so that the tiny model writes few different tokens, or freely."""
    bias = dict.fromkeys(ROUND, 9.0) if repeating else {}
    return drawn(seed, temperature=(0.0, 0.5)[seed % 2], logit_bias=bias)


@pytest.mark.parametrize("kind", ["dense", "windowed", "moe", "yarn"])
@pytest.mark.parametrize(
    "shape", [{}, {"block_size": 1}, {"max_batch_tokens": 7, "max_requests": 3}]
)
def test_looking_up_the_prompt_changes_no_token(
    models: Models, make_engine: Make, run_all: Run, kind: str, shape: dict[str, int]
) -> None:
    prompts = [ROUND * 4, [7, 7, 7, 7, 7], ROUND * 2 + [1, 2], [90] * 24]
    params = [one_of(repeating=True, seed=seed) for seed in range(len(prompts))]
    expected = run_all(make_engine(models[kind]), prompts, params)
    engine = make_engine(models[kind], **shape)
    counting = Counting(ngram=1, least=2)
    engine.proposers = (counting,)
    found = run_all(engine, prompts, params)
    for done, other in zip(found, expected, strict=True):
        assert done.token_ids == other.token_ids
        assert done.text == other.text
        # float64 roundings of other shapes of the same products.
        assert done.logprobs == pytest.approx(other.logprobs, abs=1e-11)
        assert done.finish_reason == other.finish_reason
    assert counting.right, "no draft was right: nothing is shown"
    assert counting.right < counting.drafted, "no draft was wrong: little is shown"


def futures(
    models: Models, make_engine: Make, run_all: Run, params: Sequence[SamplingParams]
) -> list[Completion]:
    return run_all(make_engine(models["dense"]), [ROUND] * len(params), params)


def test_right_drafts_save_steps(models: Models, make_engine: Make, run_all: Run) -> None:
    (expected,) = futures(models, make_engine, run_all, [drawn(3)])
    engine = make_engine(models["dense"])
    oracle = Oracle({3: expected.token_ids}, [False])
    engine.proposers = (oracle,)
    request = engine.add(ROUND, drawn(3))
    steps = 0
    while engine.has_requests:
        engine.step()
        engine.scheduler.check()
        steps += 1
    assert request.completion().token_ids == expected.token_ids
    # The first token comes with the prompt, then six each: a draft of five and what follows it.
    assert steps == 5
    assert oracle.right == 15


@settings(max_examples=15, deadline=None)
@given(
    spoil=st.lists(st.booleans(), min_size=1, max_size=9),
    sizes=st.tuples(st.integers(12, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 9)),
)
def test_drafts_that_fail_anywhere_change_no_token(
    models: Models,
    make_engine: Make,
    run_all: Run,
    *,
    spoil: list[bool],
    sizes: tuple[int, int, int, int],
) -> None:
    """In a small cache, with a small budget, beside others."""
    blocks, block_size, most, more = sizes
    params = [
        drawn(1),
        drawn(2, temperature=0.0, repetition_penalty=1.3),
        drawn(3, stop_token_ids=list(range(20))),
        drawn(4, presence_penalty=1.0, max_tokens=9),
    ]
    expected = futures(models, make_engine, run_all, params)
    engine = make_engine(
        models["dense"],
        cache_tokens=max(48, blocks * block_size),
        block_size=block_size,
        max_requests=most,
        max_batch_tokens=most + more,
    )
    engine.proposers = (Oracle({done.seed: done.token_ids for done in expected}, spoil),)
    for done, other in zip(run_all(engine, [ROUND] * 4, params), expected, strict=True):
        assert (done.token_ids, done.finish_reason) == (other.token_ids, other.finish_reason)
        assert done.logprobs == pytest.approx(other.logprobs, abs=1e-11)


def test_several_completions_are_drafted_for_each_alone(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    for chunk in (1, 5, 6, 512):  # of a prompt of six: a single token may be left for last
        shape = {"max_batch_tokens": chunk, "max_requests": min(chunk, 8)}
        plain, drafting = (make_engine(models["dense"], **shape) for _ in range(2))
        drafting.proposers = (PromptLookup(ngram=1, least=1),)
        prompt = [7, 8, 7, 8, 7, 8]
        params = drawn(9, n=3, logit_bias={7: 5.0, 8: 5.0})
        (expected,) = run_all(plain, [prompt], [params])
        (found,) = run_all(drafting, [prompt], [params])
        every = [
            {one.seed: one.token_ids for one in (done, *done.alternatives)}
            for done in (expected, found)
        ]
        assert every[0] == every[1]


def test_a_prompt_that_is_only_looked_at_is_not_drafted_for(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    look = SamplingParams(max_tokens=0, prompt_logprobs=0)
    engine = make_engine(models["dense"], max_batch_tokens=11, max_requests=3)
    counting = Counting(ngram=1)
    engine.proposers = (counting,)
    prompt = ROUND * 2
    (done,) = run_all(engine, [prompt], [look], [Admission(pooling="mean")])
    assert done.prompt_logprobs is not None
    assert len(done.prompt_logprobs) == 12
    assert counting.drafted == 0


def test_a_stop_within_a_draft_ends_the_completion_there(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    (whole,) = futures(models, make_engine, run_all, [drawn(3)])
    for stop in range(2, 12):
        params = drawn(3, stop_token_ids=[whole.token_ids[stop]])
        first = whole.token_ids.index(whole.token_ids[stop])
        engine = make_engine(models["dense"])
        engine.proposers = (Oracle({3: whole.token_ids}, [False]),)
        (done,) = run_all(engine, [ROUND], [params])
        assert (done.token_ids, done.finish_reason) == (whole.token_ids[: first + 1], "stop")


def test_right_drafts_can_be_found_in_the_cache_and_wrong_ones_cannot(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    (whole,) = futures(models, make_engine, run_all, [drawn(3)])
    engine = make_engine(models["dense"], block_size=2)
    engine.proposers = (Oracle({3: whole.token_ids}, [False, False, True]),)
    run_all(engine, [ROUND], [drawn(3)])
    plain = make_engine(models["dense"], prefix_cache=False)
    engine.proposers = ()
    for more in range(18):
        prompt = [*ROUND, *whole.token_ids[:more], 5]
        (done,) = run_all(engine, [prompt], [drawn(8, max_tokens=5)])
        (expected,) = run_all(plain, [prompt], [drawn(8, max_tokens=5)])
        assert done.token_ids == expected.token_ids
        assert done.num_cached_tokens == (6 + more) // 2 * 2


@given(
    st.lists(st.integers(0, 2), max_size=60),
    st.integers(1, 4),
    st.lists(st.integers(1, 9), max_size=20),
)
def test_the_index_finds_the_last_place_where_the_ngram_came(
    tokens: list[int], size: int, pieces: list[int]
) -> None:
    index, end = Index(size), 0
    for piece in [*pieces, len(tokens)]:
        end = min(end + piece, len(tokens))
        text, last = tokens[:end], tokens[max(end - size, 0) : end]
        places = [e for e in range(size, end) if text[e - size : e] == last]
        assert index.update(text) == (max(places) if places and end >= size else None)


def test_trust_grows_with_right_drafts_and_rests_after_wrong_ones() -> None:
    trust = Trust(least=3, most=10)
    lengths = []
    for _ in range(3):
        lengths.append(trust.allowance())
        trust.learn(lengths[-1], lengths[-1])
    assert lengths == [3, 6, 10]
    trust.learn(10, 4)
    assert trust.allowance() == 4
    rests = []
    for _ in range(8):
        trust.learn(4, 0)
        rest = 0
        while not trust.allowance():
            rest += 1
        rests.append(rest)
    assert rests == [1, 3, 7, 15, 31, 63, 64, 64]
    trust.learn(3, 3)
    trust.learn(3, 0)
    assert [trust.allowance() for _ in range(2)] == [0, 3]


def test_where_many_decode_nobody_is_drafted_for(models: Models, make_engine: Make) -> None:
    engine = make_engine(models["dense"])
    counting = Counting(ngram=1, max_requests=2)
    engine.proposers = (counting,)
    for seed in range(3):
        engine.add([7] * 9, drawn(seed, max_tokens=5 + 5 * seed, logit_bias={7: 50.0}))
    for _ in range(5):
        engine.step()
    assert counting.drafted == 0
    while engine.has_requests:
        engine.step()
    assert counting.drafted > 0

"""One request alone = in a crowd = in chunks of any size = preempted and resumed."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.engine.completion import Completion
from tongwen.engine.engine import Engine
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Request
from tongwen.model.attention import PackedCausal
from tongwen.model.qwen2 import Qwen2ForCausalLM
from tongwen.model.stream import Stream

Make = Callable[..., Engine]
Run = Callable[..., list[Completion]]
Models = dict[str, Qwen2ForCausalLM]

KINDS = ("dense", "windowed", "moe", "yarn")
SIZES = [(1, 16), (5, 14), (15, 4), (26, 5), (2, 10), (9, 8)]
PROMPTS = [[(7 * i + j * j) % 95 for j in range(prompt)] for i, (prompt, _) in enumerate(SIZES)]
PARAMS = [
    SamplingParams(
        temperature=(0.0, 0.8)[i % 2],
        top_p=(1.0, 0.9)[i // 2 % 2],
        repetition_penalty=(1.0, 1.2)[i // 3 % 2],
        seed=i,
        max_tokens=wanted,
        ignore_eos=True,
    )
    for i, (_, wanted) in enumerate(SIZES)
]

# Tokens a step, requests a step, tokens a block.
SHAPES = [(512, 64, 4), (1, 1, 1), (3, 2, 3), (6, 6, 5), (13, 4, 16)]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, models: Models) -> Qwen2ForCausalLM:
    return models[request.param]


@pytest.fixture(scope="module")
def alone(model: Qwen2ForCausalLM, make_engine: Make, run_all: Run) -> list[Completion]:
    """Each request in an engine of its own."""
    return [
        run_all(make_engine(model), [prompt], [params])[0]
        for prompt, params in zip(PROMPTS, PARAMS, strict=True)
    ]


def assert_same(got: list[Completion], expected: list[Completion]) -> None:
    assert [c.token_ids for c in got] == [c.token_ids for c in expected]
    for one, other in zip(got, expected, strict=True):
        # float64 roundings of other shapes of the same products, through two layers.
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-11)
        assert one.text == other.text


def test_completions_are_as_long_as_asked(alone: list[Completion]) -> None:
    assert [len(c.token_ids) for c in alone] == [wanted for _, wanted in SIZES]
    assert {c.finish_reason for c in alone} == {"length"}
    assert len({tuple(c.token_ids[:5]) for c in alone}) == len(alone)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_request_alone_is_that_in_a_crowd_and_in_chunks_of_any_size(
    model: Qwen2ForCausalLM,
    make_engine: Make,
    run_all: Run,
    alone: list[Completion],
    shape: tuple[int, int, int],
) -> None:
    names = ("max_batch_tokens", "max_requests", "block_size")
    engine = make_engine(model, **dict(zip(names, shape, strict=True)))
    assert_same(run_all(engine, PROMPTS, PARAMS), alone)


@pytest.mark.parametrize(("cache_tokens", "max_batch_tokens"), [(48, 64), (48, 30)])
def test_a_preempted_request_ends_as_if_nothing_had_happened(
    model: Qwen2ForCausalLM,
    make_engine: Make,
    alone: list[Completion],
    cache_tokens: int,
    max_batch_tokens: int,
) -> None:
    engine = make_engine(
        model,
        cache_tokens=cache_tokens,
        block_size=2,
        max_batch_tokens=max_batch_tokens,
        max_requests=6,
    )
    requests = [engine.add(p, asked) for p, asked in zip(PROMPTS, PARAMS, strict=True)]
    preempted: set[int] = set()
    while engine.has_requests:
        engine.step()
        engine.scheduler.check()
        waiting = [r for r in engine.scheduler.waiting if isinstance(r, Request)]
        preempted |= {r.request_id for r in waiting if r.token_ids}
    assert preempted, "the cache was not small enough to show anything"
    assert_same([r.completion() for r in requests], alone)


def test_scattered_blocks_serve_like_adjoining_ones(
    model: Qwen2ForCausalLM, make_engine: Make, alone: list[Completion]
) -> None:
    engine = make_engine(model, block_size=2)
    pool = engine.scheduler.pool
    held = pool.allocate(pool.num_blocks)
    pool.release([block for block in held if block % 3 != 1])  # never three in a row
    requests = [engine.add(p, asked) for p, asked in zip(PROMPTS, PARAMS, strict=True)]
    engine.step()
    table = requests[3].block_table
    assert any(after != before + 1 for before, after in pairwise(table))
    while engine.has_requests:
        engine.step()
    assert_same([r.completion() for r in requests], alone)


def test_log_probabilities_are_those_of_the_whole_sequence_at_once(
    model: Qwen2ForCausalLM, alone: list[Completion]
) -> None:
    for done in alone:
        ids = torch.tensor(done.prompt_token_ids + done.token_ids)
        attend = PackedCausal([len(ids)], model.config, dtype=torch.float64)
        stream = Stream(attend=attend)
        with torch.inference_mode():
            hidden = model.model(ids, stream)
            scored = model.lm_head.logprobs(hidden[:-1], ids[1:], stream).tolist()
        start = len(done.prompt_token_ids) - 1
        # float64 roundings in another order, of log-probabilities of about -5.
        assert done.logprobs == pytest.approx(scored[start:], abs=1e-11)


def test_greedy_completions_take_the_most_probable_token(
    model: Qwen2ForCausalLM, make_engine: Make, run_all: Run
) -> None:
    params = SamplingParams(temperature=0, max_tokens=10, logprobs=3, ignore_eos=True)
    (done,) = run_all(make_engine(model), [PROMPTS[1]], [params])
    assert done.top_logprobs is not None
    for token_id, logprob, top in zip(
        done.token_ids, done.logprobs, done.top_logprobs, strict=True
    ):
        assert len(top) == 3
        best = next(i for i in top if i < 257)  # rows of padding may be reported, never chosen
        assert (token_id, logprob) == (best, top[best])


def test_the_reported_seed_gives_the_completion_again(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    engine = make_engine(models["dense"])
    free = SamplingParams(temperature=1.0, max_tokens=12, ignore_eos=True)
    one, two = run_all(engine, [PROMPTS[1]] * 2, [free] * 2)
    assert one.seed != two.seed
    assert one.token_ids != two.token_ids
    again = SamplingParams(temperature=1.0, max_tokens=12, ignore_eos=True, seed=one.seed)
    assert run_all(engine, [PROMPTS[1]], [again])[0].token_ids == one.token_ids


def test_a_completion_can_be_taken_up_again_where_it_was_left(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    """The noise is that of the token's position in prompt and completion together."""
    engine = make_engine(models["dense"])

    def drawn(count: int) -> SamplingParams:
        return SamplingParams(temperature=1.0, max_tokens=count, ignore_eos=True, seed=4)

    (whole,) = run_all(engine, [PROMPTS[1]], [drawn(12)])
    (rest,) = run_all(engine, [PROMPTS[1] + whole.token_ids[:5]], [drawn(7)])
    assert rest.token_ids == whole.token_ids[5:]


@settings(max_examples=12, deadline=None)
@given(
    plan=st.lists(
        st.tuples(st.integers(0, 12), st.one_of(st.none(), st.integers(0, 20))),
        min_size=6,
        max_size=6,
    ),
    blocks=st.integers(12, 40),
)
def test_arrivals_and_aborts_at_any_moment_change_nobody_else(
    models: Models,
    make_engine: Make,
    run_all: Run,
    plan: list[tuple[int, int | None]],
    blocks: int,
) -> None:
    """`plan`: the step in which each request arrives and how many later it is aborted, if ever."""
    engine = make_engine(
        models["dense"], cache_tokens=4 * blocks, max_batch_tokens=9, max_requests=4
    )
    requests: dict[int, Request] = {}
    for now in range(1000):
        for i, (arrival, abort) in enumerate(plan):
            if now == arrival:
                requests[i] = engine.add(PROMPTS[i], PARAMS[i])
            if abort is not None and now == arrival + abort:
                engine.abort(requests[i])
                engine.scheduler.check()
        engine.step()
        engine.scheduler.check()
        if now > 12 and not engine.has_requests:
            break
    assert not [*engine.scheduler.waiting, *engine.scheduler.running]
    assert engine.scheduler.pool.num_free == blocks
    for i, whole in enumerate(run_all(make_engine(models["dense"]), PROMPTS, PARAMS)):
        done = requests[i].completion()
        if plan[i][1] is None or done.finish_reason == "length":
            assert done.token_ids == whole.token_ids
        else:
            assert done.finish_reason == "abort"
            assert done.token_ids == whole.token_ids[: len(done.token_ids)]
            assert len(done.token_ids) < len(whole.token_ids)

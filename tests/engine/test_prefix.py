"""What one request computed serves another, where both may know of each other."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.engine.admission import Admission
from tongwen.engine.completion import Completion
from tongwen.engine.engine import Engine
from tongwen.engine.params import SamplingParams
from tongwen.model.qwen2 import Qwen2ForCausalLM

Make = Callable[..., Engine]
Run = Callable[..., list[Completion]]
Models = dict[str, Qwen2ForCausalLM]

PROMPT = [(5 * i + i * i) % 95 for i in range(22)]


def drawn(seed: int = 1, **asked: object) -> SamplingParams:
    settled = {"temperature": 0.9, "seed": seed, "max_tokens": 8, "ignore_eos": True, **asked}
    return SamplingParams(**settled)  # type: ignore[arg-type]


def cached(engine: Engine, run_all: Run, prompt: list[int], **by: str) -> int:
    """Tokens that a request finds in the cache."""
    (done,) = run_all(engine, [prompt], [drawn()], [Admission(**by)])  # type: ignore[arg-type]
    return done.num_cached_tokens


@pytest.mark.parametrize("kind", ["dense", "windowed", "moe", "yarn"])
@pytest.mark.parametrize("block_size", [1, 4, 11])
def test_a_prompt_found_in_the_cache_has_the_same_completion(
    models: Models, make_engine: Make, run_all: Run, kind: str, block_size: int
) -> None:
    engine = make_engine(models[kind], block_size=block_size)
    without = make_engine(models[kind], block_size=block_size, prefix_cache=False)
    for seed in range(3):
        (done,) = run_all(engine, [PROMPT], [drawn(seed)])
        (expected,) = run_all(without, [PROMPT], [drawn(seed)])
        assert done.token_ids == expected.token_ids
        # float64 roundings of other shapes of the same products.
        assert done.logprobs == pytest.approx(expected.logprobs, abs=1e-11)
        assert done.num_cached_tokens == (21 // block_size * block_size if seed else 0)
        assert expected.num_cached_tokens == 0


def test_only_the_common_beginning_is_found(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    engine = make_engine(models["dense"])
    assert cached(engine, run_all, PROMPT) == 0
    for same in (3, 4, 9, 16, 20):
        assert cached(engine, run_all, [*PROMPT[:same], 94, 94]) == same // 4 * 4
    assert cached(engine, run_all, [94, *PROMPT[1:]]) == 0


def test_a_conversation_goes_on_from_its_own_completion(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    engine = make_engine(models["dense"])
    (turn,) = run_all(engine, [PROMPT], [drawn()])
    said = PROMPT + turn.token_ids
    # Of 30 tokens the last was sampled but not computed: 29 are in the cache, 28 in full blocks.
    assert cached(engine, run_all, [*said, 7, 7]) == 28


def test_callers_do_not_share_unless_they_agree_to(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    engine = make_engine(models["dense"])
    assert cached(engine, run_all, PROMPT, caller="a") == 0
    assert cached(engine, run_all, PROMPT, caller="b") == 0
    assert cached(engine, run_all, PROMPT, caller="a") == 20
    assert cached(engine, run_all, PROMPT, caller="a", salt="both") == 0
    assert cached(engine, run_all, PROMPT, caller="b", salt="both") == 20
    assert cached(engine, run_all, PROMPT, caller="b", salt="a") == 0, "a name is no salt"


def test_engines_of_other_weights_have_other_keys(models: Models, make_engine: Make) -> None:
    engine, other = make_engine(models["dense"]), make_engine(models["dense"])
    other.identity = "another checkpoint"
    keys = [
        engine.root_key(-1, ""),
        engine.root_key(0, ""),
        engine.root_key(-1, "0"),
        other.root_key(-1, ""),
    ]
    engine.refresh_weights()
    keys.append(engine.root_key(-1, ""))
    assert len(set(keys)) == 5


def test_new_weights_are_not_read_through_old_keys(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    model = models["dense"]
    engine = make_engine(model)
    cached(engine, run_all, PROMPT)
    running = engine.add(PROMPT, drawn(max_tokens=20))
    for _ in range(5):
        engine.step()
    engine.refresh_weights()
    assert engine.scheduler.pool.num_cached == 0
    late = engine.add(PROMPT, drawn())
    while engine.has_requests:
        engine.step()
        engine.scheduler.check()
    assert late.completion().num_cached_tokens == 0
    assert len(running.completion().token_ids) == 20
    assert cached(engine, run_all, PROMPT) == 20  # what the new weights computed


def test_a_preempted_request_finds_its_own_blocks_again(models: Models, make_engine: Make) -> None:
    prompts = [[(i * j + 3 * j) % 95 for j in range(9 + i)] for i in range(6)]
    params = [drawn(seed, max_tokens=14) for seed in range(6)]

    def served(**shape: int | bool) -> tuple[list[list[int]], int, int]:
        engine = make_engine(models["dense"], block_size=2, max_requests=6, **shape)
        requests = [engine.add(*asked) for asked in zip(prompts, params, strict=True)]
        computed = restarts = 0
        before: set[int] = set()
        while engine.has_requests:
            engine.step()
            engine.scheduler.check()
            computed += engine.batch.num_tokens
            waiting = {id(r) for r in engine.scheduler.waiting if r.num_tokens > 17}
            restarts += len(waiting - before)
            before = waiting
        return [r.completion().token_ids for r in requests], computed, restarts

    expected, _, none = served()
    assert none == 0
    plain, much, restarts = served(cache_tokens=60, prefix_cache=False)
    reusing, less, again = served(cache_tokens=60)
    assert plain == reusing == expected
    assert restarts, "the cache was not small enough to show anything"
    assert again
    assert less < much, "what was still there was computed again"


@settings(max_examples=25, deadline=None)
@given(
    asked=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(1, 22),
            st.lists(st.integers(0, 1), max_size=4),
            st.sampled_from(("", "a")),
        ),
        min_size=2,
        max_size=10,
    ),
    sizes=st.tuples(st.integers(12, 40), st.integers(3, 30)),
)
def test_whatever_prefixes_are_shared_completions_are_those_without(
    models: Models,
    make_engine: Make,
    run_all: Run,
    asked: list[tuple[int, int, list[int], str]],
    sizes: tuple[int, int],
) -> None:
    """In a small cache that evicts and preempts, at the same time and one after another."""
    model = models["dense"]
    prompts = [[*PROMPT[:same], *tail] for _, same, tail, _ in asked]
    params = [drawn(index, max_tokens=6) for index in range(len(asked))]
    admissions = [Admission(caller=caller) for *_, caller in asked]
    expected = run_all(make_engine(model, prefix_cache=False), prompts, params)
    engine = make_engine(
        model, cache_tokens=4 * sizes[0], max_batch_tokens=sizes[1], max_requests=3
    )
    requests = []
    for (pause, *_), *one in zip(asked, prompts, params, admissions, strict=True):
        requests.append(engine.add(*one))
        for _ in range(2 * pause):
            engine.step()
            engine.scheduler.check()
    while engine.has_requests:
        engine.step()
        engine.scheduler.check()
    for request, other in zip(requests, expected, strict=True):
        assert request.completion().token_ids == other.token_ids


def test_copied_blocks_are_copied_in_every_layer(models: Models, make_engine: Make) -> None:
    engine = make_engine(models["dense"])
    store = engine.runner.cache.store
    store.copy_(torch.randn(store.shape, generator=torch.Generator().manual_seed(1)))
    before = store.clone()
    engine.runner.cache.copy([(3, 7), (7, 2)])
    blocks, olds = (x.unflatten(2, (-1, 4)) for x in (store, before))
    assert torch.equal(blocks[:, :, 7], olds[:, :, 3])
    assert torch.equal(blocks[:, :, 2], olds[:, :, 3])
    kept = [block for block in range(blocks.shape[2]) if block not in (2, 7)]
    assert torch.equal(blocks[:, :, kept], olds[:, :, kept])

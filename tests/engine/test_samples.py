"""Several completions of one prompt: each is what its seed gives alone."""

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.engine.admission import Admission
from tongwen.engine.completion import Completion
from tongwen.engine.engine import Engine
from tongwen.engine.llm import best_completions
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Request
from tongwen.model.qwen2 import Qwen2ForCausalLM

Make = Callable[..., Engine]
Run = Callable[..., list[Completion]]
Models = dict[str, Qwen2ForCausalLM]

PROMPT = [3, 14, 15, 92, 65, 35, 8]


def drawn(seed: int = 7, **asked: object) -> SamplingParams:
    settled = {"temperature": 1.0, "seed": seed, "max_tokens": 10, "ignore_eos": True, **asked}
    return SamplingParams(**settled)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone(models: Models, make_engine: Make, run_all: Run) -> dict[int, list[int]]:
    """What each of some seeds gives."""
    seeds = range(7, 12)
    return {
        seed: run_all(make_engine(models["dense"]), [PROMPT], [drawn(seed)])[0].token_ids
        for seed in seeds
    }


SHAPES: list[dict[str, int | bool]] = [
    {},
    {"block_size": 7},  # the prompt ends with a block
    {"max_batch_tokens": 1, "max_requests": 1},  # fewer rows than completions
    {"max_batch_tokens": 3, "max_requests": 2},
    {"block_size": 1, "prefix_cache": False},
    {"cache_tokens": 48, "block_size": 2},  # preempted
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_completions_of_one_prompt_are_those_of_the_seeds_asked_alone(
    models: Models,
    make_engine: Make,
    run_all: Run,
    alone: dict[int, list[int]],
    shape: dict[str, int],
) -> None:
    engine = make_engine(models["dense"], **shape)
    (best,) = run_all(engine, [PROMPT], [drawn(n=5)])
    all_of_them = [best, *best.alternatives]
    assert {done.seed: done.token_ids for done in all_of_them} == alone
    means = [sum(done.logprobs) / 10 for done in all_of_them]
    assert means == sorted(means, reverse=True)


def test_the_best_of_several_are_kept(models: Models, make_engine: Make, run_all: Run) -> None:
    engine = make_engine(models["dense"])
    (every,) = run_all(engine, [PROMPT], [drawn(n=5)])
    (best,) = run_all(engine, [PROMPT], [drawn(n=2, best_of=5)])
    kept, ranked = [best, *best.alternatives], [every, *every.alternatives]
    assert [done.token_ids for done in kept] == [done.token_ids for done in ranked[:2]]


def test_one_token_each_needs_no_fork(models: Models, make_engine: Make, run_all: Run) -> None:
    engine = make_engine(models["dense"])
    (best,) = run_all(engine, [PROMPT], [drawn(n=5, max_tokens=1)])
    assert [len(done.token_ids) for done in (best, *best.alternatives)] == [1] * 5


def test_the_prompts_log_probabilities_come_with_each_completion(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    engine = make_engine(models["dense"])
    (lone,) = run_all(engine, [PROMPT], [drawn(prompt_logprobs=2)])
    (best,) = run_all(engine, [PROMPT], [drawn(n=4, prompt_logprobs=2)])
    for done in (best, *best.alternatives):
        assert done.prompt_logprobs == lone.prompt_logprobs
        assert done.prompt_top_logprobs == lone.prompt_top_logprobs


def test_the_prompt_is_computed_once_for_all(models: Models, make_engine: Make) -> None:
    engine = make_engine(models["dense"], prefix_cache=False)
    leader = engine.add(PROMPT, drawn(n=5))
    computed = 0
    while engine.has_requests:
        engine.step()
        computed += engine.batch.num_tokens
    # Nine decoded tokens each, the last prompt token once each at most, the rest of it once.
    assert computed <= 5 * 10 + len(PROMPT) - 1
    assert leader.is_finished


def served(engine: Engine, everyone: list[Request], aborts: dict[int, list[int]]) -> None:
    """Step to the end; `aborts` names who goes before which step."""
    for now in count():
        for index in aborts.get(now, []):
            engine.abort(everyone[index])
            engine.scheduler.check()
        if not engine.has_requests:
            return
        engine.step()
        engine.scheduler.check()
        assert now < 500


@settings(max_examples=60, deadline=None)
@given(
    plan=st.dictionaries(
        st.integers(0, 6), st.lists(st.integers(0, 4), min_size=1, max_size=3), max_size=4
    ),
    shape=st.sampled_from(SHAPES),
)
def test_aborting_some_completions_changes_no_other(
    models: Models,
    make_engine: Make,
    alone: dict[int, list[int]],
    plan: dict[int, list[int]],
    shape: dict[str, int],
) -> None:
    """The first of them leads: others wait for the prompt that it computes."""
    engine = make_engine(models["dense"], **shape)
    leader = engine.add(PROMPT, drawn(n=5))
    everyone = [leader, *leader.followers]
    served(engine, everyone, plan)
    gone = {index for indices in plan.values() for index in indices}
    for index, request in enumerate(everyone):
        done = request.completion()
        whole = alone[7 + index]
        assert done.token_ids == whole[: len(done.token_ids)]
        assert done.finish_reason == "length" or index in gone
        assert len(done.token_ids) == 10 or done.finish_reason == "abort"
    assert engine.scheduler.pool.num_free == engine.scheduler.pool.num_blocks


def test_completions_of_a_prompt_found_in_the_cache_are_the_same(
    models: Models, make_engine: Make, run_all: Run, alone: dict[int, list[int]]
) -> None:
    for block_size in (2, 3, 7):
        engine = make_engine(models["dense"], block_size=block_size)
        for again in range(2):
            (best,) = run_all(engine, [PROMPT], [drawn(n=5)], [Admission(caller="me")])
            assert {d.seed: d.token_ids for d in (best, *best.alternatives)} == alone
            (first,) = (d for d in (best, *best.alternatives) if d.seed == 7)
            assert first.num_cached_tokens == again * (6 // block_size) * block_size


def test_an_aborted_completion_is_reported_among_the_others(
    models: Models, make_engine: Make
) -> None:
    engine = make_engine(models["dense"])
    leader = engine.add(PROMPT, drawn(n=3))
    everyone = [leader, *leader.followers]
    engine.abort(everyone[1])
    served(engine, everyone, {})
    best = best_completions(everyone)
    reasons = sorted(done.finish_reason for done in (best, *best.alternatives))
    assert reasons == ["abort", "length", "length"]

"""A small model guesses for a large one: the same tokens, in fewer steps."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tongwen.engine.completion import Completion
from tongwen.engine.draft import DraftModel, Odds, draft_model
from tongwen.engine.engine import Engine
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Request
from tongwen.model.qwen2 import Qwen2ForCausalLM

Make = Callable[..., Engine]
Run = Callable[..., list[Completion]]
Models = dict[str, Qwen2ForCausalLM]

PROMPTS = [[(7 * i + j * j) % 95 for j in range(5 + 3 * i)] for i in range(4)]
PARAMS = [
    SamplingParams(
        temperature=(0.0, 0.9)[i % 2],
        top_p=(1.0, 0.9)[i // 2],
        repetition_penalty=(1.0, 1.3)[i // 2],
        seed=i,
        max_tokens=20,
        ignore_eos=True,
    )
    for i in range(4)
]


def drafting(engine: Engine, small: Qwen2ForCausalLM) -> DraftModel:
    """Let a model draft for an engine, four requests at a time, at next to no cost."""
    draft = draft_model(small, engine, cost=0.05)
    draft.max_requests = 4
    engine.proposers = (draft,)
    return draft


@pytest.mark.parametrize("small", ["dense", "windowed", "moe"])
def test_drafts_of_any_model_change_no_token(
    models: Models, make_engine: Make, run_all: Run, small: str
) -> None:
    alone = [
        run_all(make_engine(models["dense"]), [p], [asked])[0]
        for p, asked in zip(PROMPTS, PARAMS, strict=True)
    ]
    engine = make_engine(models["dense"])
    drafting(engine, models[small])
    for done, expected in zip(run_all(engine, PROMPTS, PARAMS), alone, strict=True):
        assert done.token_ids == expected.token_ids
        assert done.logprobs == pytest.approx(expected.logprobs, abs=1e-11)


def test_a_model_that_drafts_for_itself_is_right_and_saves_steps(
    models: Models, make_engine: Make
) -> None:
    """With the request's own noise it draws the same tokens: also where they are sampled."""
    params = replace(PARAMS[1], repetition_penalty=1.0)

    def steps(*, is_drafted: bool) -> int:
        engine = make_engine(models["dense"])
        if is_drafted:
            drafting(engine, models["dense"])
        engine.add(PROMPTS[1], params)
        count = 0
        while engine.has_requests:
            engine.step()
            engine.scheduler.check()
            count += 1
        return count

    plain = steps(is_drafted=False)
    assert plain == 20
    assert steps(is_drafted=True) <= plain // 3


def test_a_cache_too_small_for_both_ends_no_step(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    """Completions of one prompt share blocks that the small model would need twice."""
    params = replace(PARAMS[1], n=3, max_tokens=6)
    alone = run_all(make_engine(models["dense"]), [PROMPTS[3]], [params])
    engine = make_engine(models["dense"], cache_tokens=48, block_size=2, max_requests=6)
    draft = drafting(engine, models["dense"])
    assert run_all(engine, [PROMPTS[3]], [params])[0].token_ids == alone[0].token_ids
    draft.propose([])
    assert draft.pool.num_free == draft.pool.num_blocks
    draft.pool.check([])


def test_a_proposer_that_fails_costs_nobody_anything(
    models: Models, make_engine: Make, run_all: Run
) -> None:
    class Broken:
        def propose(self, requests: list[Request]) -> None:
            raise MemoryError("no blocks")

        def learn(self, request: Request, num_drafts: int, num_right: int) -> None:
            raise AssertionError("nothing was drafted")

    engine = make_engine(models["dense"])
    engine.proposers = (Broken(),)
    (done,) = run_all(engine, PROMPTS[:1], PARAMS[:1])
    assert done.finish_reason == "length"


def test_drafts_cease_where_they_do_not_pay_and_are_tried_now_and_then() -> None:
    odds = Odds(cost=0.4)
    lengths = []
    for _ in range(200):
        lengths.append(odds.length(6))
        if lengths[-1]:
            odds.learn(lengths[-1], 0)
    assert lengths[0] > 0
    assert 0 < sum(length > 0 for length in lengths[100:]) <= 2
    hopeful = Odds(cost=0.1, rate=0.95)
    assert hopeful.length(6) >= 4

"""Many coroutines, one engine thread: the same tokens, and nobody hangs whoever leaves."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from tongwen.engine.async_engine import AsyncEngine
from tongwen.engine.completion import Completion
from tongwen.engine.constraint import JsonSchema
from tongwen.engine.engine import Engine
from tongwen.engine.params import SamplingParams
from tongwen.errors import RequestError
from tongwen.model.qwen2 import Qwen2ForCausalLM

Make = Callable[..., Engine]
Run = Callable[..., list[Completion]]
PROMPTS = [[(7 * i + j * j) % 95 for j in range(3 + i)] for i in range(6)]
PARAMS = [SamplingParams(temperature=0.9, seed=i, max_tokens=12, ignore_eos=True) for i in range(6)]
LONG = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
PATIENCE_S = 20


@pytest.fixture
def engine(models: dict[str, Qwen2ForCausalLM], make_engine: Make) -> Iterator[AsyncEngine]:
    made = AsyncEngine(make_engine(models["dense"]))
    yield made
    made.close()
    assert not made._thread.is_alive()


def test_coroutines_get_what_they_would_get_alone(
    engine: AsyncEngine, models: dict[str, Qwen2ForCausalLM], make_engine: Make, run_all: Run
) -> None:
    async def everyone() -> list[list[Completion]]:
        asked = zip(PROMPTS, PARAMS, strict=True)
        return await asyncio.gather(*(engine.complete(p, params) for p, params in asked))

    alone = run_all(make_engine(models["dense"]), PROMPTS, PARAMS)
    found = asyncio.run(asyncio.wait_for(everyone(), PATIENCE_S))
    assert [done.token_ids for (done,) in found] == [done.token_ids for done in alone]


def test_pieces_join_to_the_whole(engine: AsyncEngine) -> None:
    async def pieces() -> None:
        text, ids = "", []
        async for piece in engine.stream(PROMPTS[0], PARAMS[0]):
            text += piece.text
            ids.append(piece.token_id)
        assert piece.completion is not None
        assert (text, ids) == (piece.completion.text, piece.completion.token_ids)

    asyncio.run(asyncio.wait_for(pieces(), PATIENCE_S))


def test_several_completions_come_in_the_order_of_their_seeds(engine: AsyncEngine) -> None:
    params = SamplingParams(temperature=0.9, seed=3, n=3, max_tokens=5, ignore_eos=True)
    done = asyncio.run(asyncio.wait_for(engine.complete(PROMPTS[1], params), PATIENCE_S))
    assert [each.seed for each in done] == [3, 4, 5]


def test_whoever_stops_waiting_ends_the_request_and_nobody_else(engine: AsyncEngine) -> None:
    async def leave_early() -> list[Completion]:
        async for _ in engine.stream(PROMPTS[0], LONG):
            break
        cancelled = [asyncio.ensure_future(engine.complete(p, LONG)) for p in PROMPTS]
        await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        done = await engine.complete(PROMPTS[1], PARAMS[1])
        while await engine.ask(lambda: engine.engine.scheduler.num_requests):
            await asyncio.sleep(0.01)
        return done

    (done,) = asyncio.run(asyncio.wait_for(leave_early(), PATIENCE_S))
    assert len(done.token_ids) == 12
    pool = engine.engine.scheduler.pool
    assert pool.num_free == pool.num_blocks


def test_a_loop_that_has_ended_does_not_end_the_engine(engine: AsyncEngine) -> None:
    async def vanish() -> None:
        stream = engine.stream(PROMPTS[0], LONG)
        await anext(stream)

    for _ in range(5):
        asyncio.run(vanish())
    (done,) = asyncio.run(asyncio.wait_for(engine.complete(PROMPTS[2], PARAMS[2]), PATIENCE_S))
    assert len(done.token_ids) == 12


def test_a_refusal_reaches_who_asked(engine: AsyncEngine) -> None:
    with pytest.raises(RequestError, match="the prompt is empty"):
        asyncio.run(asyncio.wait_for(engine.complete([], PARAMS[0]), PATIENCE_S))


def test_a_closed_engine_says_so_and_its_callers_are_told(
    models: dict[str, Qwen2ForCausalLM], make_engine: Make
) -> None:
    made = AsyncEngine(make_engine(models["dense"]))

    async def close_under_way() -> Completion:
        task = asyncio.ensure_future(made.complete(PROMPTS[0], LONG))
        while not await made.ask(lambda: made.engine.scheduler.running):
            await asyncio.sleep(0)
        await asyncio.to_thread(made.close)
        (done,) = await task
        return done

    done = asyncio.run(asyncio.wait_for(close_under_way(), PATIENCE_S))
    assert done.finish_reason in ("abort", "length")
    with pytest.raises(RequestError, match="closed"):
        asyncio.run(asyncio.wait_for(made.complete(PROMPTS[0], LONG), PATIENCE_S))


def test_nobody_waits_while_a_grammar_is_compiled(engine: AsyncEngine) -> None:
    """One that takes a second, and whose end is that it is too large: the engine goes on."""
    text = {"type": "string"}
    tables = [{f"{n}-{m}": text for m in range(40)} for n in range(40)]
    parts = [{"type": "object", "properties": table} for table in tables]
    slow = SamplingParams(temperature=0, max_tokens=1, constraint=JsonSchema({"allOf": parts}))

    async def compile_and_look() -> tuple[float, float]:
        asked = asyncio.ensure_future(engine.complete(PROMPTS[0], slow))
        began, longest = time.perf_counter(), 0.0
        while not asked.done():
            before = time.perf_counter()
            await engine.ask(lambda: None)
            longest = max(longest, time.perf_counter() - before)
        with pytest.raises(RequestError, match="items"):
            await asked
        return longest, time.perf_counter() - began

    longest, whole = asyncio.run(asyncio.wait_for(compile_and_look(), PATIENCE_S))
    assert longest < whole / 2


def test_a_grammar_that_cannot_be_kept_is_refused_and_others_go_on(engine: AsyncEngine) -> None:
    async def both() -> list[Completion]:
        wrong = SamplingParams(constraint=JsonSchema({"type": "nonsense"}))
        with pytest.raises(RequestError, match="nonsense"):
            await engine.complete(PROMPTS[0], wrong)
        return await engine.complete(PROMPTS[0], LONG)

    (done,) = asyncio.run(asyncio.wait_for(both(), PATIENCE_S))
    assert len(done.token_ids) == 40

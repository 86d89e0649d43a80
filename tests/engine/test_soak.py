"""Thousands of requests of every kind: none lost, none wrong, and no memory kept."""

import gc
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from tongwen.engine.admission import Admission
from tongwen.engine.engine import Engine
from tongwen.engine.params import SamplingParams
from tongwen.engine.request import Request
from tongwen.engine.speculate import PromptLookup
from tongwen.errors import BusyError
from tongwen.model.qwen2 import Qwen2ForCausalLM

Make = Callable[..., Engine]
Models = dict[str, Qwen2ForCausalLM]

NUM_REQUESTS = int(os.environ.get("TONGWEN_SOAK", "2000"))
"""Completions; the suite does some, `TONGWEN_SOAK=10000` all that are promised."""

STARTS = [[(3 * i + j * j) % 95 for j in range(20)] for i in range(3)]


def one(random: Random) -> tuple[list[int], SamplingParams, Admission]:
    """A request of any kind; most of them short."""
    prompt = random.choice(STARTS)[: random.randint(1, 20)]
    prompt = prompt + [random.randrange(95) for _ in range(random.randint(0, 4))]
    temperature = random.choice((0.0, 0.7, 1.5))
    several = random.choice((1, 1, 1, 2, 3)) if temperature else 1
    most = random.choice((0, 1, 2, 3, 5, 12)) if several == 1 else random.choice((1, 3, 6))
    params = SamplingParams(
        temperature=temperature,
        seed=random.randrange(1000),
        n=several,
        max_tokens=most,
        min_tokens=min(most, random.choice((0, 0, 2))),
        top_k=random.choice((0, 5)),
        top_p=random.choice((1.0, 0.9)),
        min_p=random.choice((0.0, 0.0, 0.1)),
        repetition_penalty=random.choice((1.0, 1.2)),
        logit_bias=random.choice(({}, {7: 8.0, 8: 8.0})),
        bad_token_ids=random.choice(((), (1, 2))),
        stop_token_ids=random.choice(((), tuple(range(30)))),
        prompt_logprobs=random.choice((None, None, None, 0)),
        ignore_eos=random.random() < 0.5,
    )
    admission = Admission(
        caller=random.choice("abc"),
        priority=random.choice((0, 0, 1)),
        salt=random.choice((None, "all")),
        pooling="mean" if not most and random.random() < 0.5 else None,
    )
    return prompt, params, admission


class Crowd:
    """Requests that come and go; each must end as it should."""

    def __init__(self, engine: Engine, alone: Engine, random: Random) -> None:
        self.engine, self.alone, self.random = engine, alone, random
        self.groups: list[list[Request]] = []
        self.asked: dict[int, tuple[list[int], SamplingParams, Admission]] = {}
        self.begun = self.ended = self.refused = self.aborted = self.compared = 0

    def arrive(self) -> None:
        asked = one(self.random)
        try:
            leader = self.engine.add(*asked)
        except BusyError:
            self.refused += 1
            return
        group = [leader, *leader.followers]
        self.asked[leader.request_id] = asked
        self.groups.append(group)
        self.begun += len(group)

    def abort(self) -> None:
        """Someone leaves, at whatever moment."""
        request = self.random.choice(self.random.choice(self.groups))
        self.aborted += not request.is_finished
        self.engine.abort(request)

    def step(self) -> None:
        self.engine.step()
        self.engine.scheduler.check()
        for group in [g for g in self.groups if all(r.is_finished for r in g)]:
            self.groups.remove(group)
            self.ended += len(group)
            self._look_at(group)

    def _look_at(self, group: list[Request]) -> None:
        asked = self.asked.pop(group[0].request_id)
        for request in group:
            done = request.completion()
            assert done.finish_reason in ("stop", "length", "abort")
            assert len(done.token_ids) == len(done.logprobs) <= request.max_tokens
            assert not request.block_table
        if self.random.random() < 0.1:
            self.compared += 1
            self._compare(group, asked)

    def _compare(
        self, group: list[Request], asked: tuple[list[int], SamplingParams, Admission]
    ) -> None:
        """Against an engine that does nothing else."""
        leader = self.alone.add(*asked)
        expected = [leader, *leader.followers]
        while self.alone.has_requests:
            self.alone.step()
        for request, other in zip(group, expected, strict=True):
            if request.finish_reason == "abort":
                assert request.token_ids == other.token_ids[: len(request.token_ids)]
                continue
            assert request.token_ids == other.token_ids
            assert request.finish_reason == other.finish_reason
            assert request.logprobs == pytest.approx(other.logprobs, abs=1e-11)
            if request.num_prompt_logprobs is not None:
                theirs = other.prompt_logprobs
                assert request.prompt_logprobs == pytest.approx(theirs, abs=1e-11)

    def serve(self, count: int) -> None:
        """So many more completions, and then whoever is left."""
        until = self.begun + count
        while self.begun < until or self.groups:
            for _ in range(self.random.choice((0, 1, 2, 3)) if self.begun < until else 0):
                self.arrive()
            if self.groups and self.random.random() < 0.15:
                self.abort()
            self.step()


def held() -> int:
    """Pieces of memory that Python objects hold."""
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.slow
def test_of_thousands_of_requests_none_is_lost_or_wrong_and_no_memory_is_kept(
    models: Models, make_engine: Make
) -> None:
    engine = make_engine(
        models["dense"],
        cache_tokens=240,
        max_batch_tokens=48,
        max_requests=12,
        max_waiting=30,
    )
    engine.proposers = (PromptLookup(ngram=1, least=2, max_requests=6),)
    crowd = Crowd(engine, make_engine(models["dense"], prefix_cache=False), Random(20))
    crowd.serve(100)  # what is made once is made
    kept = []
    for _ in range(4):
        crowd.serve(NUM_REQUESTS // 4)
        assert not engine.has_requests
        assert engine.scheduler.pool.num_free == engine.scheduler.pool.num_blocks
        kept.append(held())
    assert crowd.ended == crowd.begun >= NUM_REQUESTS
    assert crowd.aborted > NUM_REQUESTS / 50
    assert crowd.compared > NUM_REQUESTS / 40
    # One piece that each request leaves behind would be a quarter of them in every round.
    assert max(after - before for before, after in pairwise(kept)) < NUM_REQUESTS / 8, kept

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.client.standin import answered, standing_in
from tests.evals.conftest import Measure
from tests.evals.tiny import Tiny

from tongwen.client.http import HttpClient
from tongwen.engine.params import SamplingParams
from tongwen.evals.ask import ask
from tongwen.evals.catalogue import TASKS
from tongwen.evals.question import Generate, Question
from tongwen.evals.sample import Sample
from tongwen.evals.seeds import question_of, seed_of
from tongwen.evals.task import Setup
from tongwen.judge.benchmarks import Benchmarks


class Alike(Tiny):
    """Every sample is asked the same."""

    def question(self, sample: Sample) -> Question:
        return super().question(replace(sample, row={"text": "value name next user"}))


def asked(data: Path, temperature: float, seed: int) -> Iterator[Generate]:
    task = Tiny(
        Setup(
            data=Benchmarks(data), preset="plain", is_chat=True, temperature=temperature, seed=seed
        )
    )
    for sample in task.samples():
        question = question_of(task, sample)
        assert isinstance(question, Generate)
        yield question


def test_runs_of_neighbouring_seeds_share_no_completion(measure: Measure, tmp_path: Path) -> None:
    one, other = (
        measure("tiny", n=5, temperature=1.0, seed=seed, out=tmp_path / str(seed))
        for seed in (0, 1)
    )
    for first, second in zip(one.records, other.records, strict=True):
        assert first.answers[1:] != second.answers[:-1]


def test_samples_that_are_asked_alike_draw_apart(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TASKS, "tiny", Alike)
    drawn = measure("tiny", temperature=1.0, seed=3)
    assert len({record.answers for record in drawn.records}) > 1
    greedy = measure("tiny", seed=3)
    assert len({record.answers for record in greedy.records}) == 1


def test_each_completion_draws_its_further_turns_by_a_seed_of_its_own() -> None:
    choice = {"message": {"role": "assistant", "content": "so"}, "finish_reason": "stop"}
    pair, single = (answered(200, {"choices": [choice] * count}) for count in (2, 1))
    question = Generate(
        prompt=[{"role": "user", "content": "and?"}],
        params=SamplingParams(temperature=1.0, seed=40, n=2),
        follow_ups=("then?",),
    )

    async def work(url: str) -> None:
        client = HttpClient(url, "far")
        try:
            await ask(client, question)
        finally:
            await client.close()

    with standing_in(answered(404, {}), pair, single) as there:
        asyncio.run(work(there.url))
    assert [body.get("seed") for body in there.bodies] == [None, 40, 40, 41]


def test_what_is_greedy_is_asked_as_ever(data: Path) -> None:
    assert {each.params.seed for each in asked(data, 0.0, 5)} == {5}


def test_the_seed_of_a_sample_depends_on_the_run_and_on_the_sample_alone(data: Path) -> None:
    first, again, other = (
        [each.params.seed for each in asked(data, 0.7, seed)] for seed in (5, 5, 6)
    )
    assert first == again
    assert len({*first, *other}) == len(first) + len(other)


def test_seeds_are_whole_numbers_that_every_server_takes() -> None:
    seeds = [seed_of(run, f"row {number} \ud83d") for run in (-1, 2**40) for number in range(500)]
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) > 990
    assert max(seeds) > 2**30

"""A load that is offered to an endpoint, and what is counted of it."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.client.standin import StandIn, answered, piece, standing_in, streamed, text

from tongwen.client.load import EndpointSpeed, find_target, measure_endpoint, offer
from tongwen.engine.llm import LLM
from tongwen.engine.traffic import Goals, Load
from tongwen.errors import ModelNotFoundError, RequestError, SourceError

LOAD = Load(requests=4, prompt_tokens=20, completion_tokens=6)
LISTED = answered(200, {"data": [{"id": "gpt", "owned_by": "someone"}]})
OPENED = [LISTED, answered(200, text()), LISTED]
"""What is asked before a load: the models, one token, the models again."""


def measured(url: str, load: Load = LOAD, goals: Goals | None = None) -> EndpointSpeed:
    return asyncio.run(measure_endpoint(url, None, load, repeats=2, goals=goals))[1]


def test_the_engines_load_is_offered_to_a_server_of_ours(tiny_served: str, tiny_llm: LLM) -> None:
    name, speed = asyncio.run(measure_endpoint(tiny_served, None, LOAD, repeats=2))
    assert name == "tiny"
    assert (speed.tokens, speed.prompts, speed.repeats) == (24, "ids", 2)
    assert speed.numerics == tiny_llm.numerics
    assert speed.tokens_per_s > 0
    assert speed.latencies.failed == 0
    assert speed.latencies.tpot_p50_ms is not None
    assert 0 < speed.latencies.ttft_p50_ms <= speed.latencies.ttft_p99_ms
    assert speed.client_share > 0


def test_every_completion_has_the_length_that_was_asked_for(tiny_served: str) -> None:
    async def run() -> Sequence[int]:
        target = await find_target(tiny_served, "tiny", None)
        return [timing.tokens for timing in (await offer(target, LOAD, 1)).timings]

    assert asyncio.run(run()) == [6] * 4


def test_requests_are_sent_when_they_are_due(tiny_served: str) -> None:
    load = Load(requests=5, prompt_tokens=8, completion_tokens=3, rate=20.0)

    async def run() -> None:
        target = await find_target(tiny_served, "tiny", None)
        found = await offer(target, load, 1)
        assert [timing.due_s for timing in found.timings] == load.arrivals_s(1)
        assert all(timing.due_s < timing.first_s <= timing.last_s for timing in found.timings)

    asyncio.run(run())


def test_an_endpoint_of_others_gets_texts_and_nothing_of_ours() -> None:
    stream = streamed(piece("a"), piece("b"), piece("c", "stop"), b"[DONE]")
    with standing_in(*OPENED, stream) as end:
        speed = measured(end.url, goals=Goals(slo_ttft_ms=60_000.0))
        asked = end.bodies[3:]
    assert (speed.prompts, speed.numerics) == ("text", None)
    assert len(asked) == 12
    assert len({body["prompt"] for body in asked}) == 12
    assert {len(body["prompt"].split()) for body in asked} == {20}
    ours = {"ignore_eos", "repetition_penalty", "return_token_ids"}
    assert not ours & {name for body in asked for name in body}
    assert speed.latencies.goodput_share == 1
    # It tells no usage: its events are counted.
    assert speed.tokens_per_s > 0


def test_usage_is_believed_before_events() -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 50}}
    with standing_in(*OPENED, streamed(piece("many"), usage, b"[DONE]")) as end:

        async def run() -> list[int]:
            target = await find_target(end.url, "gpt", None)
            return [timing.tokens for timing in (await offer(target, LOAD)).timings]

        assert asyncio.run(run()) == [50] * 4


def test_what_fails_is_counted_and_meets_no_goal() -> None:
    good = streamed(piece("a", "stop"), b"[DONE]")
    bad = [
        answered(503, {"error": {"message": "busy"}}),
        streamed(piece("a")),
        streamed(piece("a"), is_cut=True),
    ]
    warm = [good] * 4
    with standing_in(*OPENED, *warm, *bad, good) as end:
        speed = measured(end.url, goals=Goals(slo_ttft_ms=60_000.0))
    assert speed.latencies.failed == 3
    assert speed.latencies.goodput_share == pytest.approx(5 / 8)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answered(503, {"error": {"message": "busy"}}), "no request of 4 was answered: 503: busy"),
        (streamed(), "a stream broke off"),
        (answered(200, b"<html>", "text/html"), "a stream broke off: <html>"),
        (b"", "0 bytes read"),
        (b"SSH-2.0\r\n\r\n", "no request of 4 was answered: no HTTP"),
    ],
)
def test_where_all_fail_it_is_said_why(answer: bytes, said: str) -> None:
    with standing_in(*OPENED, answer) as end, pytest.raises(SourceError, match=said):
        measured(end.url)


def test_a_model_that_is_not_named_must_be_the_only_one() -> None:
    listed = answered(200, {"data": [{"id": "a"}, {"id": "b"}]})
    with standing_in(listed) as end, pytest.raises(ModelNotFoundError) as unnamed:
        measured(end.url)
    assert unnamed.value.hint == "it has a, b"
    with standing_in(answered(401, {"error": {"message": "who?"}})) as end:
        with pytest.raises(RequestError, match="who"):
            measured(end.url)
        assert len(end.heads) == 1


def test_the_client_is_faster_than_any_model_here() -> None:
    events = [piece(f" w{number}") for number in range(400)]
    stream = streamed(*events, piece("", "stop"), b"[DONE]")

    async def run(end: StandIn) -> float:
        target = await find_target(end.url, "gpt", None)
        load = Load(requests=8, prompt_tokens=8)
        return max([(await offer(target, load)).tokens_per_s for _ in range(3)])

    with standing_in(*OPENED, stream) as end:
        # Some 30,000 a second on an idle core; the engine gives 1,000, and CI may be busy.
        assert asyncio.run(run(end)) > 3_000

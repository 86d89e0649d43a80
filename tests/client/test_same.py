"""Over HTTP and in this process: the same answers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tongwen.client.client import Client, Part, Prompt, Reply
from tongwen.client.http import HttpClient
from tongwen.client.local import LocalClient
from tongwen.engine.constraint import Choice
from tongwen.engine.llm import LLM
from tongwen.engine.params import SamplingParams
from tongwen.errors import ModelNotFoundError, RequestError, TongwenError

Result = TypeVar("Result")

GREEDY = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=12)
SEEDED = SamplingParams(temperature=1.0, seed=7, max_tokens=12, n=3)
PROMPTS: list[Prompt] = [
    "user assistant",
    [5, 9, 14, 3],
    [{"role": "user", "content": "name?"}],
    [{"role": "user", "content": "name?"}, {"role": "assistant", "content": "va"}],
]


def on_both(
    url: str, llm: LLM, work: Callable[[Client], Awaitable[Result]], model: str = "tiny"
) -> tuple[Result, Result]:
    """What both clients give."""

    async def run() -> tuple[Result, Result]:
        http, local = HttpClient(url, model, wants_token_ids=True), LocalClient(llm)
        async with contextlib.aclosing(Closing(http)), contextlib.aclosing(Closing(local)):
            return await work(http), await work(local)

    return asyncio.run(run())


class Closing:
    """A client under the name by which `aclosing` closes."""

    def __init__(self, client: Client) -> None:
        self.aclose = client.close


async def parts_of(client: Client, prompt: Prompt, params: SamplingParams) -> list[Part]:
    return [part async for part in client.stream(prompt, params)]


@pytest.mark.parametrize("prompt", PROMPTS, ids=["text", "ids", "conversation", "continued"])
@pytest.mark.parametrize("params", [GREEDY, SEEDED], ids=["greedy", "seeded"])
def test_both_give_the_same_replies(
    tiny_served: str, tiny_llm: LLM, prompt: Prompt, params: SamplingParams
) -> None:
    http, local = on_both(tiny_served, tiny_llm, lambda client: client.ask(prompt, params))
    assert http == local
    assert len(local) == params.n
    assert all(reply.token_ids for reply in local)


def test_log_probabilities_are_those_of_what_was_sampled_also_where_the_prompt_is_echoed(
    tiny_served: str, tiny_llm: LLM
) -> None:
    params = SamplingParams(
        temperature=0, repetition_penalty=1.0, max_tokens=4, logprobs=2, echo=True
    )
    http, local = on_both(tiny_served, tiny_llm, lambda client: client.ask("user name", params))
    assert http == local
    assert local[0].text.startswith("user name")
    assert len(local[0].logprobs or ()) == 4


def test_log_probabilities_of_a_conversation_are_the_same(tiny_served: str, tiny_llm: LLM) -> None:
    params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=4, logprobs=0)
    http, local = on_both(tiny_served, tiny_llm, lambda client: client.ask(PROMPTS[2], params))
    assert http == local
    assert len(local[0].logprobs or ()) == 4


@pytest.mark.parametrize("best_of", [2, 4])
def test_the_best_are_chosen_and_all_are_counted(
    tiny_served: str, tiny_llm: LLM, best_of: int
) -> None:
    params = SamplingParams(temperature=1.0, seed=3, max_tokens=6, n=2, best_of=best_of, logprobs=0)
    http, local = on_both(tiny_served, tiny_llm, lambda client: client.ask("user", params))
    assert http == local
    assert len(local) == 2
    assert local[0].completion_tokens == 6 * best_of


@pytest.mark.parametrize("prompt", [PROMPTS[0], PROMPTS[2]], ids=["text", "conversation"])
def test_a_stream_has_the_pieces_of_the_reply_and_ends_with_it(
    tiny_served: str, tiny_llm: LLM, prompt: Prompt
) -> None:
    params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=12, logprobs=0)
    streams = on_both(tiny_served, tiny_llm, lambda client: parts_of(client, prompt, params))
    whole, _ = on_both(tiny_served, tiny_llm, lambda client: client.ask(prompt, params))
    for parts in streams:
        assert "".join(part.text for part in parts) == whole[0].text
        assert [part.reply for part in parts if part.reply] == whole
        assert parts[-1].reply is not None
        assert len([part for part in parts if part.text]) > 3


def test_a_stop_string_and_a_choice_hold_on_both(tiny_served: str, tiny_llm: LLM) -> None:
    choice = SamplingParams(max_tokens=20, seed=1, constraint=Choice(["user", "system"]))
    http, local = on_both(tiny_served, tiny_llm, lambda client: client.ask("name", choice))
    assert http == local
    assert local[0].text in ("user", "system")
    stop = SamplingParams(max_tokens=60, temperature=0, repetition_penalty=1.0, stop=["e", "a"])
    http, local = on_both(tiny_served, tiny_llm, lambda client: client.ask("name", stop))
    assert http == local


def test_scores_are_the_same(tiny_served: str, tiny_llm: LLM) -> None:
    prompts = ["user assistant", [5, 9, 14, 3, 8], "n"]
    http, local = on_both(tiny_served, tiny_llm, lambda client: client.score(prompts))
    assert [len(each) for each in http] == [len(each) for each in local]
    for one, other in zip(http, local, strict=True):
        assert one[0] is None is other[0]
        # The engine writes a token in the one and none in the other: rows of other products.
        assert one[1:] == pytest.approx(other[1:], abs=1e-5)


def test_a_score_that_fails_ends_the_others(tiny_served: str, tiny_llm: LLM) -> None:
    async def score(client: Client) -> str:
        with pytest.raises(RequestError) as refused:
            await client.score(["user", [3] * 600, "name"])
        return str(refused.value)

    http, local = on_both(tiny_served, tiny_llm, score)
    assert "600" in http
    assert "600" in local


@pytest.mark.parametrize("prompt", ["", []])
def test_an_empty_prompt_is_refused_by_both(
    tiny_served: str, tiny_llm: LLM, prompt: Prompt
) -> None:
    async def ask(client: Client) -> type[TongwenError]:
        with pytest.raises(RequestError) as refused:
            await client.ask(prompt, GREEDY)
        return type(refused.value)

    assert on_both(tiny_served, tiny_llm, ask) == (RequestError, RequestError)


def test_more_than_one_stream_is_refused_by_both(tiny_served: str, tiny_llm: LLM) -> None:
    async def refused(client: Client) -> bool:
        with pytest.raises(RequestError, match="`n` is 3, but one completion can be streamed"):
            await parts_of(client, "user", SEEDED)
        return True

    assert on_both(tiny_served, tiny_llm, refused) == (True, True)


def test_a_stream_that_is_left_ends_on_both(tiny_served: str, tiny_llm: LLM) -> None:
    params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=400)

    async def leave(client: Client) -> Reply:
        async with contextlib.aclosing(client.stream("user", params)) as parts:
            async for _ in parts:
                break
        return (await client.ask("user", GREEDY))[0]

    http, local = on_both(tiny_served, tiny_llm, leave)
    assert http == local
    assert not tiny_llm.engine.has_requests


def test_many_at_once_are_as_one_alone(tiny_served: str, tiny_llm: LLM) -> None:
    async def crowd(client: Client) -> list[list[Reply]]:
        alone = await client.ask("user 3", GREEDY)
        asked = [client.ask(f"user {number}", GREEDY) for number in range(8)]
        found = await asyncio.gather(*asked)
        assert found[3][0].text == alone[0].text
        return found

    http, local = on_both(tiny_served, tiny_llm, crowd)
    assert http == local


def test_what_a_closed_client_was_answering_fails_and_is_not_handed_out_cut(tiny_llm: LLM) -> None:
    async def run() -> None:
        client = LocalClient(tiny_llm)
        params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=480)
        asked = asyncio.ensure_future(client.ask("user", params))
        stream = client.stream("user", params)
        await anext(stream)
        await client.close()
        with pytest.raises(
            RequestError, match=r"the client was closed after|the engine is closing"
        ):
            await asked
        with pytest.raises(
            RequestError, match=r"the client was closed after|the engine is closing"
        ):
            async for _ in stream:
                pass
        with pytest.raises(RequestError, match="the engine is closed"):
            await client.ask("user", GREEDY)
        await client.close()

    asyncio.run(run())
    done = tiny_llm.generate(["user"], GREEDY)[0]
    assert len(done.token_ids) == 12


def test_both_know_the_name_of_their_model(tiny_served: str, tiny_llm: LLM) -> None:
    assert isinstance(HttpClient(tiny_served, "tiny"), Client)
    assert HttpClient(tiny_served, "tiny").model == "tiny"
    assert LocalClient(tiny_llm).model == tiny_llm.name


def test_a_server_lists_its_models_and_knows_no_others(tiny_served: str) -> None:
    async def run() -> list[dict[str, Any]]:
        client = HttpClient(tiny_served, "other")
        with pytest.raises(ModelNotFoundError, match="other"):
            await client.ask("user", GREEDY)
        models = await client.models()
        await client.close()
        return models

    assert [model["id"] for model in asyncio.run(run())] == ["tiny"]


@pytest.mark.real
def test_the_real_model_gives_the_same_bits(served_url: str, real_gguf: Path) -> None:
    llm = LLM(real_gguf, context=4096)
    params = SamplingParams(temperature=0, repetition_penalty=1.0, max_tokens=24, logprobs=0)
    prompts: list[Prompt] = ["def add(a, b):", [{"role": "user", "content": "Say hello."}]]
    model = "qwen2.5-coder:0.5b"
    for prompt in prompts:
        http, local = on_both(served_url, llm, lambda c, p=prompt: c.ask(p, params), model)  # type: ignore[misc]
        assert http == local
    http_scores, local_scores = on_both(
        served_url, llm, lambda client: client.score(["The sea is blue.", "def f():"]), model
    )
    assert http_scores == local_scores

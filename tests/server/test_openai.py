"""OpenAI's dialect, asked with the official package."""

import base64
import json
import math
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
from tests.server.conftest import GET_WEATHER, REAL

from tongwen.kernels.machine import machine

WEATHER = {"type": "function", "function": GET_WEATHER}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
PARIS = [{"role": "user", "content": "What is the capital of France?"}]
OSLO = [{"role": "user", "content": "What is the weather in Oslo?"}]
GREEDY = {"model": REAL, "temperature": 0, "max_tokens": 48}
pytestmark = pytest.mark.real


def test_a_question_is_answered(real_client: openai.OpenAI) -> None:
    done = real_client.chat.completions.create(messages=PARIS, **GREEDY)
    assert "Paris" in (done.choices[0].message.content or "")
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens
    assert done.model == REAL


def test_a_developer_speaks_as_the_system_does(real_client: openai.OpenAI) -> None:
    answers = [
        real_client.chat.completions.create(
            messages=[{"role": role, "content": "Answer in French."}, *PARIS], **GREEDY
        )
        for role in ("system", "developer")
    ]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content


def test_a_stream_tells_what_the_whole_answer_tells(real_client: openai.OpenAI) -> None:
    whole = real_client.chat.completions.create(messages=PARIS, **GREEDY)
    chunks = list(
        real_client.chat.completions.create(
            messages=PARIS, stream=True, stream_options={"include_usage": True}, **GREEDY
        )
    )
    *pieces, last = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert text == whole.choices[0].message.content
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert last.choices == []
    assert last.usage is not None
    assert whole.usage is not None
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in pieces)


def test_several_completions_differ_and_a_seed_gives_them_again(real_client: openai.OpenAI) -> None:
    asked = {"model": REAL, "temperature": 1.2, "max_tokens": 24, "n": 3, "seed": 7}
    said = [{"role": "user", "content": "Invent the name of a star."}]
    first, again = (real_client.chat.completions.create(messages=said, **asked) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    assert len(set(texts)) > 1
    assert texts == [choice.message.content for choice in again.choices]


def test_log_probabilities_are_those_of_the_tokens(real_client: openai.OpenAI) -> None:
    done = real_client.chat.completions.create(
        messages=PARIS, logprobs=True, top_logprobs=3, **GREEDY
    )
    said = done.choices[0]
    assert said.logprobs is not None
    entries = said.logprobs.content or []
    assert done.usage is not None
    assert len(entries) == done.usage.completion_tokens
    for entry in entries:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == entry.top_logprobs[0].logprob <= 0  # greedy: the most probable
        assert sum(math.exp(top.logprob) for top in entry.top_logprobs) <= 1 + 1e-5
    text = b"".join(bytes(entry.bytes or []) for entry in entries).decode()
    assert text.startswith(said.message.content or "?")


def test_a_tool_is_called_and_its_result_is_used(real_client: openai.OpenAI) -> None:
    first = real_client.chat.completions.create(
        messages=OSLO, tools=[WEATHER], tool_choice=NAMED, **GREEDY
    )
    message = first.choices[0].message
    (call,) = message.tool_calls or []
    assert call.function.name == "get_weather"
    assert "Oslo" in json.loads(call.function.arguments)["city"]
    result = {"role": "tool", "tool_call_id": call.id, "content": "-31 degrees"}
    second = real_client.chat.completions.create(messages=[*OSLO, message, result], **GREEDY)
    assert "31" in (second.choices[0].message.content or "")


def test_a_call_that_is_required_ends_as_one(real_client: openai.OpenAI) -> None:
    done = real_client.chat.completions.create(
        messages=PARIS, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, **GREEDY
    )
    assert done.choices[0].finish_reason == "tool_calls"
    assert len(done.choices[0].message.tool_calls or []) == 1


def test_a_call_is_streamed_in_pieces(real_client: openai.OpenAI) -> None:
    chunks = real_client.chat.completions.create(
        messages=OSLO, tools=[WEATHER], tool_choice=NAMED, stream=True, **GREEDY
    )
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert calls[0].function is not None
    assert calls[0].function.name == "get_weather"
    pieces = [call.function.arguments or "" for call in calls if call.function is not None]
    assert len(pieces) > 2
    assert "Oslo" in json.loads("".join(pieces))["city"]


def test_no_call_is_read_where_none_may_be(real_client: openai.OpenAI) -> None:
    done = real_client.chat.completions.create(
        messages=OSLO, tools=[WEATHER], tool_choice="none", **GREEDY
    )
    assert done.choices[0].message.tool_calls is None
    assert done.choices[0].message.content


def test_an_answer_keeps_to_a_schema(real_client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    done = real_client.chat.completions.create(messages=PARIS, response_format=form, **GREEDY)
    read = json.loads(done.choices[0].message.content or "")
    assert set(read) == {"city", "people"}
    assert isinstance(read["people"], int)


def test_any_object_may_be_asked_for(real_client: openai.OpenAI) -> None:
    done = real_client.chat.completions.create(
        messages=[{"role": "user", "content": "Give {city: name} of France's capital as JSON."}],
        response_format={"type": "json_object"},
        **GREEDY,
    )
    assert isinstance(json.loads(done.choices[0].message.content or ""), dict)


def test_an_answer_ends_before_a_stop_string(real_client: openai.OpenAI) -> None:
    said = [{"role": "user", "content": "Count from 1 to 9, with commas."}]
    done = real_client.chat.completions.create(messages=said, stop=["4"], **GREEDY)
    assert done.choices[0].finish_reason == "stop"
    assert "3" in (done.choices[0].message.content or "")
    assert "4" not in (done.choices[0].message.content or "")


def test_a_text_is_continued(real_client: openai.OpenAI) -> None:
    done = real_client.completions.create(
        prompt="The capital of France is", **GREEDY | {"max_tokens": 4}
    )
    assert done.choices[0].text.startswith(" Paris")
    assert done.choices[0].finish_reason == "length"


def test_several_prompts_are_continued_in_order(real_client: openai.OpenAI) -> None:
    prompts = ["The capital of France is", "The capital of Italy is"]
    done = real_client.completions.create(prompt=prompts, **GREEDY | {"max_tokens": 2})
    assert "Paris" in done.choices[0].text
    assert "Rome" in done.choices[1].text


def test_a_text_may_be_scored_without_an_answer(real_client: openai.OpenAI) -> None:
    done = real_client.completions.create(
        prompt="The capital of France is Paris", echo=True, logprobs=1, **GREEDY | {"max_tokens": 0}
    )
    found = done.choices[0].logprobs
    assert found is not None
    assert done.choices[0].text == "".join(found.tokens or [])
    assert (found.token_logprobs or [])[0] is None
    assert all(one <= 0 for one in (found.token_logprobs or [])[1:])


def test_embeddings_are_of_length_one_and_near_where_texts_are(real_client: openai.OpenAI) -> None:
    texts = ["A cat sleeps.", "A kitten is asleep.", "def f(x): return x + 1"]
    found = real_client.embeddings.create(model=REAL, input=texts)
    cat, kitten, code = (np.array(each.embedding) for each in found.data)
    assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-5)
    assert cat @ kitten > cat @ code


def test_embeddings_are_the_same_in_both_encodings(served_url: str) -> None:
    body = {"model": REAL, "input": "hello"}
    url = f"{served_url}/v1/embeddings"
    plain = httpx.post(url, json=body).json()["data"][0]["embedding"]
    coded = httpx.post(url, json=body | {"encoding_format": "base64"}).json()["data"][0]
    assert np.frombuffer(base64.b64decode(coded["embedding"]), "<f4").tolist() == plain


def test_models_are_listed_with_their_context(real_client: openai.OpenAI) -> None:
    (model,) = real_client.models.list().data
    assert model.id == REAL
    assert model.to_dict()["context_length"] == 4096
    assert real_client.models.retrieve(REAL).id == REAL


@pytest.mark.skipif(machine() is None, reason="only native kernels promise bits")
def test_eight_at_once_are_answered_as_one_alone_bit_for_bit(real_client: openai.OpenAI) -> None:
    questions = [f"Write a haiku about the number {number}." for number in range(8)]

    def ask(question: str) -> list[tuple[list[int], float]]:
        done = real_client.chat.completions.create(
            messages=[{"role": "user", "content": question}],
            logprobs=True,
            extra_body={"return_token_ids": True},
            **GREEDY,
        )
        said = done.choices[0].to_dict()
        logprobs = [entry["logprob"] for entry in said["logprobs"]["content"]]
        return list(zip(said["token_ids"], logprobs, strict=True))

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, questions))
    assert together == [ask(question) for question in questions]
    assert len({str(each) for each in together}) > 1


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (
            {"messages": [{"role": "user", "content": "long " * 5000}]},
            "context_length_exceeded",
            "4096",
        ),
        ({"extra_body": {"colour": "red"}}, "unknown_parameter", "`colour`"),
        ({"reasoning_effort": "low"}, "unsupported_parameter", "`reasoning_effort`"),
        ({"temperature": -1}, "invalid_value", "`temperature`"),
        ({"response_format": {"type": "regex"}}, "invalid_value", "`regex` is missing"),
        (
            {"response_format": {"type": "json_schema", "value": {}}},
            "invalid_value",
            "`json_schema` is missing",
        ),
        ({"response_format": {"type": "text", "value": "a"}}, "invalid_value", "of no use"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:,"}}],
                    }
                ]
            },
            "invalid_value",
            "`image_url`",
        ),
    ],
)
def test_an_error_has_its_code(
    real_client: openai.OpenAI, more: dict[str, object], code: str, said: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        real_client.chat.completions.create(**({"messages": PARIS, **GREEDY} | more))
    assert caught.value.code == code


def test_an_unknown_model_is_not_found(real_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody") as caught:
        real_client.chat.completions.create(model="nobody", messages=PARIS)
    assert caught.value.code == "model_not_found"

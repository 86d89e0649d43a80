"""Anthropic's dialect, asked with the official package."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import anthropic
import httpx
import pytest
from tests.server.conftest import REAL, serving

from tongwen.server.config import KeyEntry, ModelEntry, ServeConfig

WEATHER = {
    "name": "get_weather",
    "description": "Tell the weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
GREEDY = {"temperature": 0}  # the package no longer names it, the protocol still does
pytestmark = pytest.mark.real


@pytest.fixture
def client(served_url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=served_url, api_key="none", max_retries=0) as client:
        yield client


def ask(client: anthropic.Anthropic, said: object, **more: object) -> anthropic.types.Message:
    given = {"model": REAL, "max_tokens": 32, "extra_body": GREEDY} | more
    return client.messages.create(messages=[{"role": "user", "content": said}], **given)


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_question_is_answered(client: anthropic.Anthropic) -> None:
    message = ask(client, "What is the capital of France? One word.")
    assert "Paris" in text_of(message)
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens > 20
    assert 0 < message.usage.output_tokens < 32
    assert message.model == REAL


def test_blocks_are_read_as_texts(client: anthropic.Anthropic) -> None:
    blocks = [{"type": "text", "text": text} for text in ("What is the capital", "of France?")]
    system = [
        {"type": "text", "text": "Answer in capitals.", "cache_control": {"type": "ephemeral"}}
    ]
    as_blocks = ask(client, blocks, system=system)
    as_text = ask(client, "What is the capital\nof France?", system="Answer in capitals.")
    assert as_blocks.content == as_text.content


def test_an_answer_ends_before_a_stop_sequence(client: anthropic.Anthropic) -> None:
    message = ask(client, "Count from 1 to 9, with commas.", stop_sequences=["4", "9"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "4")
    assert "3" in text_of(message)
    assert "4" not in text_of(message)


def test_an_answer_that_is_too_long_says_so(client: anthropic.Anthropic) -> None:
    message = ask(client, "Tell a story.", max_tokens=5)
    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 5


def test_a_turn_of_the_assistant_at_the_end_is_gone_on_with(client: anthropic.Anthropic) -> None:
    turns = [
        {"role": "user", "content": "Capital of France?"},
        {"role": "assistant", "content": "The capital of France is"},
    ]
    message = client.messages.create(model=REAL, max_tokens=8, extra_body=GREEDY, messages=turns)
    assert text_of(message).startswith(" Paris")


def test_a_tool_is_called_and_its_result_is_used(client: anthropic.Anthropic) -> None:
    question = {"role": "user", "content": "What is the weather in Oslo?"}
    asked = {"model": REAL, "max_tokens": 64, "extra_body": GREEDY, "tools": [WEATHER]}
    choice = {"type": "any", "disable_parallel_tool_use": True}
    first = client.messages.create(messages=[question], tool_choice=choice, **asked)
    call = first.content[-1]
    assert first.stop_reason == "tool_use"
    assert isinstance(call, anthropic.types.ToolUseBlock)
    assert call.name == "get_weather"
    assert "Oslo" in call.input["city"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "-31 degrees"}
    turns = [
        question,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    second = client.messages.create(messages=turns, **asked | {"tools": []})
    assert "31" in text_of(second)


def test_a_named_tool_is_called(client: anthropic.Anthropic) -> None:
    other = {**WEATHER, "name": "get_time"}
    choice = {"type": "tool", "name": "get_time", "disable_parallel_tool_use": True}
    message = ask(client, "Hello!", tools=[WEATHER, other], tool_choice=choice, max_tokens=64)
    assert [block.name for block in message.content if block.type == "tool_use"] == ["get_time"]


def test_no_tool_is_called_where_none_may_be(client: anthropic.Anthropic) -> None:
    message = ask(
        client, "What is the weather in Oslo?", tools=[WEATHER], tool_choice={"type": "none"}
    )
    assert [block.type for block in message.content] == ["text"]


def test_an_answer_keeps_to_a_schema(client: anthropic.Anthropic) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
        "required": ["city", "country"],
        "additionalProperties": False,
    }
    form = {"format": {"type": "json_schema", "schema": schema}}
    message = ask(client, "Where is the Eiffel tower?", output_config=form, max_tokens=80)
    assert set(json.loads(text_of(message))) == {"city", "country"}


def test_a_stream_tells_what_the_whole_answer_tells(client: anthropic.Anthropic) -> None:
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    given = {"model": REAL, "max_tokens": 32, "extra_body": GREEDY, "messages": turns}
    whole = client.messages.create(**given)
    with client.messages.stream(**given) as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_message()
    assert text_of(streamed) == text_of(whole)
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert {"content_block_start", "content_block_delta", "content_block_stop"} <= set(kinds)


def test_a_call_is_streamed_in_pieces(client: anthropic.Anthropic) -> None:
    turns = [{"role": "user", "content": "What is the weather in Oslo?"}]
    given = {"model": REAL, "max_tokens": 64, "extra_body": GREEDY, "messages": turns}
    choice = {"type": "any", "disable_parallel_tool_use": True}
    with client.messages.stream(**given, tools=[WEATHER], tool_choice=choice) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        message = stream.get_final_message()
    assert len(pieces) > 1
    assert message.stop_reason == "tool_use"
    assert "Oslo" in message.content[-1].input["city"]


def test_a_ping_follows_the_start(served_url: str) -> None:
    body = {"model": REAL, "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(f"{served_url}/v1/messages", json={**body, "stream": True})
    kinds = [line[7:] for line in answer.text.splitlines() if line.startswith("event: ")]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]


def test_tokens_are_counted_as_they_are_read(client: anthropic.Anthropic) -> None:
    turns = [{"role": "user", "content": "What is the capital of France? One word."}]
    count = client.messages.count_tokens(model=REAL, messages=turns, tools=[WEATHER])
    usage = ask(client, turns[0]["content"], tools=[WEATHER], max_tokens=1).usage
    assert count.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_models_come_in_the_shape_that_the_client_reads(client: anthropic.Anthropic) -> None:
    found = client.models.list()
    assert [model.id for model in found.data] == [REAL]
    assert found.data[0].type == "model"
    assert found.data[0].display_name == REAL
    assert found.has_more is False
    assert found.first_id == found.last_id == REAL
    assert client.models.retrieve(REAL).id == REAL


def test_an_error_has_anthropics_shape_and_the_id(served_url: str) -> None:
    head = {"X-Request-Id": "mine-7"}
    answer = httpx.post(f"{served_url}/v1/messages", json={"model": REAL}, headers=head)
    assert answer.status_code == 400
    told = answer.json()
    assert told["type"] == "error"
    assert told["error"]["type"] == "invalid_request_error"
    assert "`messages` is missing" in told["error"]["message"]
    assert told["request_id"] == "mine-7" == answer.headers["request-id"]


def test_an_unknown_model_is_not_found(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="nobody") as caught:
        ask(client, "hi", model="nobody")
    assert caught.value.body["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "thinking"),
        ({"container": "mine"}, "container"),
        ({"extra_body": {"colour": "red"}}, "colour"),
        ({"extra_body": {"temperature": -1}}, "temperature"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    client: anthropic.Anthropic, more: dict[str, object], name: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=f"`{name}"):
        ask(client, "hi", **more)


@pytest.mark.parametrize("kind", ["image", "document", "thinking"])
def test_blocks_that_are_no_text_are_refused_by_name(
    client: anthropic.Anthropic, kind: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=f"`{kind}` is not supported"):
        ask(client, [{"type": kind, "source": {"type": "url", "url": "https://example.org"}}])


def test_no_thinking_may_be_asked_for(client: anthropic.Anthropic) -> None:
    assert (
        ask(client, "hi", thinking={"type": "disabled"}, max_tokens=1).stop_reason == "max_tokens"
    )


def test_a_result_of_a_call_that_nobody_made_is_refused(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="`toolu_9`"):
        ask(client, [{"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}])


def test_what_a_user_types_never_becomes_a_control_token(client: anthropic.Anthropic) -> None:
    plain = client.messages.count_tokens(model=REAL, messages=[{"role": "user", "content": ""}])
    typed = client.messages.count_tokens(
        model=REAL, messages=[{"role": "user", "content": "<|im_end|>"}]
    )
    assert typed.input_tokens > plain.input_tokens + 1


def test_a_prompt_beyond_the_context_is_refused_with_the_numbers(
    client: anthropic.Anthropic,
) -> None:
    with pytest.raises(anthropic.BadRequestError, match="4096"):
        ask(client, "long " * 5000)


def test_the_key_is_looked_for_where_the_client_puts_it(tiny_model: Path, tmp_path: Path) -> None:
    key = KeyEntry(name="ada", sha256=sha256(b"secret").hexdigest())
    entry = ModelEntry(model=str(tiny_model), aliases=("tiny",), context=512)
    config = ServeConfig(models=(entry,), port=0, keys=(key,))
    turns = [{"role": "user", "content": "hi"}]
    with serving(config, tmp_path) as url:
        with anthropic.Anthropic(base_url=url, api_key="secret", max_retries=0) as client:
            assert client.messages.count_tokens(model="tiny", messages=turns).input_tokens > 0
        with (
            anthropic.Anthropic(base_url=url, api_key="guessed", max_retries=0) as client,
            pytest.raises(anthropic.AuthenticationError) as caught,
        ):
            client.messages.count_tokens(model="tiny", messages=turns)
        assert caught.value.body["error"]["type"] == "authentication_error"
        assert caught.value.body["request_id"] == caught.value.request_id

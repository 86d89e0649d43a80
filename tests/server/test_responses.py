"""`/v1/responses`, asked with the official package."""

import json

import openai
import pytest
from tests.server.conftest import GET_WEATHER, REAL

WEATHER = {"type": "function", **GET_WEATHER, "strict": True}
GREEDY = {"model": REAL, "temperature": 0, "max_output_tokens": 64}
pytestmark = pytest.mark.real


def test_a_text_is_answered_and_nothing_is_kept(real_client: openai.OpenAI) -> None:
    found = real_client.responses.create(input="Capital of France? One word.", **GREEDY)
    assert "Paris" in found.output_text
    assert found.status == "completed"
    assert found.to_dict()["store"] is False
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens


def test_items_and_instructions_ask_what_chat_asks(real_client: openai.OpenAI) -> None:
    items = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hello Ada."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "What is my name?"}]},
    ]
    found = real_client.responses.create(instructions="Be brief.", input=items, **GREEDY)
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "What is my name?"},
    ]
    chat = real_client.chat.completions.create(
        model=REAL, temperature=0, max_tokens=64, messages=turns
    )
    assert found.output_text == chat.choices[0].message.content
    assert "Ada" in found.output_text


def test_what_was_asked_is_repeated(real_client: openai.OpenAI) -> None:
    found = real_client.responses.create(
        input="hi", instructions="Be brief.", metadata={"who": "me"}, tools=[WEATHER], **GREEDY
    )
    assert found.metadata == {"who": "me"}
    assert found.instructions == "Be brief."
    assert found.temperature == 0
    assert [tool.name for tool in found.tools] == ["get_weather"]


def test_a_function_is_called_and_its_result_is_used(real_client: openai.OpenAI) -> None:
    items = [{"role": "user", "content": "What is the weather in Oslo?"}]
    first = real_client.responses.create(
        input=items,
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "get_weather"},
        **GREEDY,
    )
    (call,) = first.output
    assert (call.type, call.name) == ("function_call", "get_weather")
    assert "Oslo" in json.loads(call.arguments)["city"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "-31 degrees"}
    second = real_client.responses.create(input=[*items, *first.output, result], **GREEDY)
    assert "31" in second.output_text


def test_an_answer_keeps_to_a_schema(real_client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "name": "place", "schema": schema, "strict": True}
    found = real_client.responses.create(
        input="Where is the Eiffel tower?", text={"format": form}, **GREEDY
    )
    assert set(json.loads(found.output_text)) == {"city"}
    assert found.text is not None
    assert found.text.format is not None
    assert found.text.format.name == "place"


def test_an_answer_that_is_too_long_is_incomplete(real_client: openai.OpenAI) -> None:
    found = real_client.responses.create(model=REAL, input="Tell a story.", max_output_tokens=4)
    assert found.status == "incomplete"
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "max_output_tokens"


def test_log_probabilities_come_with_the_text(real_client: openai.OpenAI) -> None:
    found = real_client.responses.create(
        input="Say yes.", include=["message.output_text.logprobs"], top_logprobs=2, **GREEDY
    )
    part = found.output[0].content[0]
    assert part.logprobs is not None
    assert "".join(one.token for one in part.logprobs).startswith(part.text)
    assert all(one.logprob <= 0 for one in part.logprobs)
    assert all(len(one.top_logprobs) == 2 for one in part.logprobs)


def test_a_stream_adds_up_to_the_whole_answer(real_client: openai.OpenAI) -> None:
    said = {"input": "What is the capital of France?", **GREEDY}
    whole = real_client.responses.create(**said)
    with real_client.responses.stream(**said) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == final.output_text == whole.output_text
    assert len(pieces) > 1


def test_a_call_is_streamed_in_pieces(real_client: openai.OpenAI) -> None:
    events = list(
        real_client.responses.create(
            input="What is the weather in Oslo?",
            tools=[WEATHER],
            tool_choice="required",
            parallel_tool_calls=False,
            stream=True,
            **GREEDY,
        )
    )
    kinds = [event.type for event in events]
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    done = next(e for e in events if e.type == "response.function_call_arguments.done")
    assert len(deltas) > 1
    assert "".join(deltas) == done.arguments
    assert "Oslo" in json.loads(done.arguments)["city"]
    assert kinds[-2:] == ["response.output_item.done", "response.completed"]


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"truncation": "auto"}, "truncation"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input_image"),
        ({"extra_body": {"colour": "red"}}, "colour"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    real_client: openai.OpenAI, more: dict[str, object], name: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=f"`{name}"):
        real_client.responses.create(**({"input": "hi", "model": REAL} | more))

"""TGI's dialect on the real model, asked with huggingface_hub's client."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from huggingface_hub import (
    ChatCompletionInputFunctionDefinition,
    ChatCompletionInputFunctionName,
    ChatCompletionInputJSONSchema,
    ChatCompletionInputResponseFormatJSONSchema,
    ChatCompletionInputTool,
    ChatCompletionInputToolChoiceClass,
    InferenceClient,
)
from huggingface_hub.errors import BadRequestError
from tests.server.conftest import REAL

pytestmark = pytest.mark.real

PROMPT = "1, 2, 3, 4,"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = ChatCompletionInputTool(
    type="function",
    function=ChatCompletionInputFunctionDefinition(
        name="weather", description="Tell the weather in a city.", parameters=CITY
    ),
)
PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
    "required": ["city", "country"],
    "additionalProperties": False,
}
Chat = Callable[..., Any]


@pytest.fixture(scope="module")
def http(served_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served_url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def client(served_url: str) -> InferenceClient:
    return InferenceClient(f"{served_url}/generate")


@pytest.fixture(scope="module")
def chat(served_url: str) -> Chat:
    """`chat_completion` of a question."""
    client = InferenceClient(base_url=f"{served_url}/v1", api_key="none")

    def ask(question: str, **more: Any) -> Any:
        how = {"model": REAL, "max_tokens": 64, "temperature": 0, **more}
        return client.chat_completion([{"role": "user", "content": question}], **how)

    return ask


def test_a_text_is_continued(client: InferenceClient) -> None:
    assert client.text_generation(PROMPT, max_new_tokens=4).startswith(" 5")
    full = client.text_generation(PROMPT, max_new_tokens=4, return_full_text=True)
    assert full.startswith("1, 2, 3, 4, 5")


def test_details_tell_tokens_and_why_it_ended(client: InferenceClient) -> None:
    done = client.text_generation(
        PROMPT, max_new_tokens=4, details=True, top_n_tokens=2, decoder_input_details=True
    )
    assert done.details is not None
    assert done.details.finish_reason == "length"
    assert done.details.generated_tokens == 4
    assert "".join(token.text for token in done.details.tokens) == done.generated_text
    assert [len(top) for top in done.details.top_tokens or ()] == [2] * 4
    assert done.details.prefill[0].text == "1"
    stopped = client.text_generation(PROMPT, max_new_tokens=20, details=True, stop=["7"])
    assert stopped.details is not None
    assert stopped.details.finish_reason == "stop_sequence"


def test_a_stream_is_the_text_in_pieces(served_url: str) -> None:
    client = InferenceClient(f"{served_url}/generate_stream")
    whole = InferenceClient(f"{served_url}/generate").text_generation(PROMPT, max_new_tokens=12)
    parts = list(client.text_generation(PROMPT, max_new_tokens=12, stream=True))
    assert "".join(parts) == whole
    assert len(parts) == 12
    events = list(client.text_generation(PROMPT, max_new_tokens=12, stream=True, details=True))
    assert [event.index for event in events] == list(range(1, 13))
    assert events[-1].generated_text == whole
    assert events[-1].details is not None
    assert events[-1].details.finish_reason == "length"
    assert all(event.generated_text is None for event in events[:-1])


def test_what_is_sampled_comes_again_with_its_seed(client: InferenceClient) -> None:
    first, again = (
        client.text_generation("Once", max_new_tokens=12, do_sample=True, seed=3, temperature=1.2)
        for _ in range(2)
    )
    assert first == again
    best = client.text_generation(
        "Once", max_new_tokens=6, do_sample=True, best_of=3, details=True, seed=3
    )
    assert best.details is not None
    assert len(best.details.best_of_sequences or ()) == 2


def test_a_grammar_holds_the_text(http: httpx2.Client) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    for grammar, check in (
        ({"type": "json", "value": schema}, lambda text: isinstance(json.loads(text)["n"], int)),
        ({"type": "regex", "value": "[0-9]{3}x"}, lambda text: text[3:] == "x"),
    ):
        body = {"inputs": "n is 4", "parameters": {"grammar": grammar, "max_new_tokens": 24}}
        assert check(http.post("/generate", json=body).json()["generated_text"])


def test_inputs_are_cut_from_the_left_where_asked(http: httpx2.Client) -> None:
    parameters = {"truncate": 5, "details": True, "decoder_input_details": True}
    body = {"inputs": "word " * 50, "parameters": {**parameters, "max_new_tokens": 1}}
    assert len(http.post("/generate", json=body).json()["details"]["prefill"]) == 5


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"watermark": True}, "watermark"),
        ({"adapter_id": "x"}, "adapter_id"),
        ({"best_of": 2}, "best_of"),
        ({"temperature": -1}, "temperature"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": 9999}, "4096"),
        ({"surprise": 1}, "surprise"),
        ({"grammar": {"type": "regex", "value": {}}}, "grammar"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    http: httpx2.Client, parameters: dict[str, Any], word: str
) -> None:
    for path in ("/generate", "/generate_stream"):
        answer = http.post(path, json={"inputs": "Hi", "parameters": parameters})
        assert answer.status_code == 400
        assert word in answer.json()["error"]
        assert answer.json()["error_type"] == "validation"


def test_the_model_is_told(http: httpx2.Client) -> None:
    told = http.get("/info").json()
    assert told["model_id"] == REAL
    assert told["max_total_tokens"] == 4096
    assert http.post("/", json={"inputs": "x"}).status_code == 405


def test_the_hubs_client_chats_with_us(chat: Chat) -> None:
    done = chat("What is 2+3? Answer with the number.")
    assert "5" in (done.choices[0].message.content or "")
    stream = chat("What is 2+3? Answer with the number.", stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == done.choices[0].message.content
    told = list(chat("Say hi.", stream=True, stream_options={"include_usage": True}))[-1]
    assert told.usage.completion_tokens > 0


def test_the_hubs_client_has_tools_called(chat: Chat) -> None:
    asked = "What is the weather in Paris? Use the tool."
    named = ChatCompletionInputToolChoiceClass(ChatCompletionInputFunctionName("weather"))
    for choice in ("auto", "required", named):
        call = chat(asked, tools=[WEATHER], tool_choice=choice).choices[0].message.tool_calls[0]
        assert call.function.name == "weather"
        assert json.loads(call.function.arguments) == {"city": "Paris"}
    parts = [
        piece.function
        for chunk in chat(asked, tools=[WEATHER], tool_choice="required", stream=True)
        for piece in chunk.choices[0].delta.tool_calls or ()
        if piece.index == 0
    ]
    assert parts[0].name == "weather"
    assert json.loads("".join(part.arguments for part in parts)) == {"city": "Paris"}


def test_the_hubs_client_holds_an_answer_to_a_form(chat: Chat) -> None:
    form = ChatCompletionInputResponseFormatJSONSchema(
        type="json_schema",
        json_schema=ChatCompletionInputJSONSchema(name="place", schema=PLACE),
    )
    said = chat("Paris is the capital of France.", response_format=form)
    assert set(json.loads(said.choices[0].message.content)) == {"city", "country"}
    form = {"type": "json", "value": PLACE}  # as its own documentation writes it
    again = chat("Paris is the capital of France.", response_format=form)
    assert again.choices == said.choices
    form = {"type": "regex", "value": "[0-9]{4}"}
    said = chat("In which year did Paris hold the Olympics?", response_format=form)
    assert re.fullmatch("[0-9]{4}", said.choices[0].message.content)


def test_the_hubs_client_reads_our_errors(chat: Chat) -> None:
    with pytest.raises(BadRequestError, match="temperature"):
        chat("Hi", temperature=-1)

"""Ollama's dialect on the real model, asked with its official package."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import ollama
import pytest
from tests.server.conftest import REAL

pytestmark = pytest.mark.real

GREEDY = {"temperature": 0, "num_predict": 24, "repeat_penalty": 1}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def client(served_url: str) -> Iterator[ollama.Client]:
    client = ollama.Client(served_url)
    yield client
    client.close()


@pytest.fixture(scope="module")
def http(served_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served_url, timeout=60) as client:
        yield client


def say(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_chat_answers_and_tells_times_in_nanoseconds(client: ollama.Client) -> None:
    done = client.chat(REAL, say("What is 2+3? Answer with the number."), options=GREEDY)
    assert "5" in (done.message.content or "")
    assert done.message.role == "assistant"
    assert done.done is True
    assert done.done_reason == "stop"
    assert done.model == REAL
    assert done.eval_count is not None
    assert 0 < done.eval_count <= 24
    assert done.total_duration is not None
    assert done.prompt_eval_duration is not None
    assert 1e6 < done.prompt_eval_duration < done.total_duration < 60e9


def test_a_streamed_chat_is_the_whole_one_in_pieces(client: ollama.Client) -> None:
    whole = client.chat(REAL, say("Count from 1 to 5."), options=GREEDY)
    parts = list(client.chat(REAL, say("Count from 1 to 5."), options=GREEDY, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) > 3
    assert parts[-1].done_reason == whole.done_reason
    assert parts[-1].eval_count == whole.eval_count


def test_a_tool_is_called_with_arguments_that_are_an_object(client: ollama.Client) -> None:
    asked = say("What is the weather in Paris? Use the tool.")
    options = {**GREEDY, "num_predict": 80}
    done = client.chat(REAL, asked, tools=[WEATHER], options=options)
    assert done.message.tool_calls
    call = done.message.tool_calls[0].function
    assert call.name == "get_weather"
    assert "Paris" in call.arguments["city"]
    parts = list(client.chat(REAL, asked, tools=[WEATHER], options=options, stream=True))
    streamed = [call for part in parts for call in part.message.tool_calls or ()]
    assert streamed == list(done.message.tool_calls)
    told = [*asked, done.message, {"role": "tool", "tool_name": "get_weather", "content": "rain"}]
    last = client.chat(REAL, told, tools=[WEATHER], options=options)
    assert "rain" in (last.message.content or "").lower()


def test_a_schema_holds_the_answer(client: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    options = {**GREEDY, "num_predict": 60}
    done = client.chat(REAL, say("Ada is 36 years old."), format=schema, options=options)
    found = json.loads(done.message.content or "")
    assert found == {"name": "Ada", "age": 36}
    free = client.generate(REAL, "Ada's age as JSON.", format="json", options=options)
    assert isinstance(json.loads(free.response or ""), dict)


def test_generate_goes_on_from_the_ids_of_earlier_turns(client: ollama.Client) -> None:
    first = client.generate(REAL, "My name is Ada. Remember it.", options=GREEDY)
    assert first.context is not None
    assert first.prompt_eval_count is not None
    second = client.generate(
        REAL, "What is my name? One word.", context=first.context, options=GREEDY
    )
    assert "Ada" in (second.response or "")
    assert second.context is not None
    assert list(second.context)[: len(first.context)] == list(first.context)
    assert second.prompt_eval_count is not None
    assert second.prompt_eval_count > len(first.context)


def test_what_is_between_two_texts_is_filled_in(client: ollama.Client) -> None:
    done = client.generate(
        REAL, "def add(a, b):\n    return ", suffix="\n\nprint(add(2, 3))\n", options=GREEDY
    )
    assert "a + b" in (done.response or "")


def test_a_raw_prompt_is_continued_as_it_is(client: ollama.Client) -> None:
    done = client.generate(REAL, "1, 2, 3, 4,", raw=True, options={**GREEDY, "num_predict": 4})
    assert (done.response or "").startswith(" 5")
    assert done.context is None
    assert done.done_reason == "length"


def test_log_probabilities_come_with_each_token(client: ollama.Client) -> None:
    options = {**GREEDY, "num_predict": 3}
    done = client.chat(REAL, say("Hi"), options=options, logprobs=True, top_logprobs=2)
    assert done.logprobs is not None
    assert len(done.logprobs) == done.eval_count
    assert all(one.top_logprobs and len(one.top_logprobs) == 2 for one in done.logprobs)
    parts = client.chat(
        REAL, say("Hi"), options=options, logprobs=True, top_logprobs=2, stream=True
    )
    streamed = [one for part in parts for one in part.logprobs or ()]
    assert [one.logprob for one in streamed] == [one.logprob for one in done.logprobs]


def test_embeddings_are_of_length_one_and_near_where_meanings_are(client: ollama.Client) -> None:
    done = client.embed(REAL, ["a cat", "a kitten", "SELECT * FROM users"])
    cat, kitten, query = done.embeddings
    assert sum(value * value for value in cat) == pytest.approx(1, abs=1e-4)
    near, far = (sum(map(float.__mul__, cat, other)) for other in (kitten, query))
    assert near > far
    assert len(client.embed(REAL, "a cat", dimensions=16).embeddings[0]) == 16
    old = client.embeddings(REAL, "a cat")
    assert list(old.embedding) == pytest.approx(list(cat), abs=1e-6)


def test_embedding_cuts_what_is_too_long_unless_that_is_refused(client: ollama.Client) -> None:
    options = {"num_ctx": 8}
    done = client.embed(REAL, "word " * 100, options=options)
    assert done.prompt_eval_count == 8
    with pytest.raises(ollama.ResponseError, match=r"\d+ tokens does not fit the context of 8"):
        client.embed(REAL, "word " * 100, truncate=False, options=options)


def test_a_model_is_listed_shown_and_in_memory(client: ollama.Client) -> None:
    client.generate(REAL, keep_alive=-1)
    (listed,) = [model for model in client.list().models if model.model == REAL]
    assert listed.digest is not None
    assert len(listed.digest) == 64
    assert listed.size == 491400064
    assert listed.details is not None
    assert listed.details.quantization_level == "Q4_K_M"
    assert listed.details.family == "qwen2"
    (loaded,) = client.ps().models
    assert loaded.model == REAL
    assert loaded.context_length == 4096
    assert loaded.expires_at is not None
    assert loaded.expires_at.year > 2100
    shown = client.show(REAL)
    assert shown.capabilities == ["completion", "tools", "insert"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["qwen2.context_length"] == 32768
    assert "<|im_start|>" in (shown.template or "")
    assert "FROM" in (shown.modelfile or "")


def test_pulling_what_is_here_succeeds_at_once(client: ollama.Client) -> None:
    assert client.pull(REAL).status == "success"
    assert [step.status for step in client.pull(REAL, stream=True)][-1] == "success"
    with pytest.raises(ollama.ResponseError, match="serves the models that it was started with"):
        client.pull("qwen2:7b")


def test_a_model_is_made_of_words_and_served_in_every_dialect(
    client: ollama.Client, http: httpx2.Client
) -> None:
    made = client.create(
        "pirate",
        from_=REAL,
        system="Your name is Captain Redbeard.",
        parameters={"temperature": 0, "num_predict": 12, "stop": ["!"]},
    )
    assert made.status == "success"
    assert "pirate:latest" in [model.model for model in client.list().models]
    said = client.chat("pirate", say("What is your name?")).message.content or ""
    assert "Redbeard" in said
    asked: dict[str, Any] = {"model": "pirate", "messages": say("What is your name?")}
    openai = http.post("/v1/chat/completions", json=asked).json()
    assert openai["choices"][0]["message"]["content"] == said
    assert openai["usage"]["completion_tokens"] <= 12
    shown = client.show("pirate")
    assert "SYSTEM" in (shown.modelfile or "")
    assert "num_predict" in (shown.parameters or "")
    client.copy("pirate", "corsair")
    client.delete("pirate")
    assert (client.chat("corsair", say("What is your name?")).message.content or "") == said
    client.delete("corsair")
    with pytest.raises(ollama.ResponseError, match="model 'corsair' not found") as caught:
        client.chat("corsair", say("What is your name?"))
    assert caught.value.status_code == 404
    assert [model.model for model in client.ps().models] == [REAL]


def test_a_modelfile_begins_every_conversation(client: ollama.Client, http: httpx2.Client) -> None:
    text = (
        f'FROM {REAL}\nSYSTEM """You know\nAda."""\nPARAMETER temperature 0\n'
        "MESSAGE user My favourite colour is teal.\nMESSAGE assistant I will remember teal.\n"
    )
    answer = http.post("/api/create", json={"name": "teal", "modelfile": text, "stream": False})
    assert answer.json() == {"status": "success"}
    try:
        done = client.chat(
            "teal", say("What is my favourite colour? One word."), options={"num_predict": 8}
        )
        assert "teal" in (done.message.content or "").lower()
    finally:
        client.delete("teal")


def test_what_is_too_long_is_refused_with_numbers_or_cut_where_asked(
    client: ollama.Client, http: httpx2.Client
) -> None:
    turns: list[dict[str, str]] = []
    for number in range(30):
        turns += say(f"Note {number}: the code of box {number} is {number * 7}.")
        turns.append({"role": "assistant", "content": "Noted."})
    messages = [{"role": "system", "content": "Be brief."}, *turns, *say("Say OK.")]
    options = {**GREEDY, "num_ctx": 200}
    with pytest.raises(ollama.ResponseError, match=r"a prompt of \d+ tokens does not fit") as error:
        client.chat(REAL, messages, options=options)
    assert error.value.status_code == 400
    body = {"model": REAL, "messages": messages, "options": options, "stream": False}
    done = http.post("/api/chat", json={**body, "truncate": True}).json()
    assert done["done"] is True
    assert 150 < done["prompt_eval_count"] < 200
    with pytest.raises(ollama.ResponseError, match="`num_ctx` is 9999, but the context of"):
        client.chat(REAL, say("Hi"), options={"num_ctx": 9999})


def test_earlier_turns_of_generate_are_cut_from_the_oldest(http: httpx2.Client) -> None:
    body: dict[str, Any] = {"model": REAL, "stream": False, "options": {**GREEDY, "num_ctx": 120}}
    context: list[int] = []
    lengths = []
    for number in range(6):
        prompt = f"Number {number}. Say yes."
        asked = {**body, "prompt": prompt, "context": context, "truncate": True}
        done = http.post("/api/generate", json=asked).json()
        assert "error" not in done
        context = done["context"]
        lengths.append(done["prompt_eval_count"])
    assert max(lengths) < 120
    assert lengths[-1] < lengths[0] + 5 * (lengths[1] - lengths[0])


def test_a_model_comes_and_goes_as_keep_alive_says(http: httpx2.Client) -> None:
    load = http.post("/api/generate", json={"model": REAL, "keep_alive": "10m"}).json()
    assert (load["done_reason"], load["response"]) == ("load", "")
    assert http.get("/api/ps").json()["models"][0]["name"] == REAL
    gone = http.post("/api/chat", json={"model": REAL, "messages": [], "keep_alive": 0}).json()
    assert gone["done_reason"] == "unload"
    assert http.get("/api/ps").json()["models"] == []
    again = http.post(
        "/api/generate", json={"model": REAL, "prompt": "Hi", "options": GREEDY, "stream": False}
    ).json()
    assert again["load_duration"] > 50_000_000


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"options": {"num_batchh": 1}}, "num_batchh"),
        ({"options": {"mirostat": 2}}, "mirostat"),
        ({"options": {"repeat_last_n": 64}}, "repeat_last_n"),
        ({"options": {"num_predict": 0}}, "num_predict"),
        ({"options": {"temperature": -1}}, "temperature"),
        ({"think": True}, "think"),
        ({"think": "high"}, "think"),
        ({"shift": True}, "shift"),
        ({"format": "yaml"}, "yaml"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "images"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "wizard"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    http: httpx2.Client, more: dict[str, Any], word: str
) -> None:
    body = {"model": REAL, "messages": say("Hi"), "options": {}, **more}
    answer = http.post("/api/chat", json=body)
    assert answer.status_code == 400
    assert word in answer.json()["error"]
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"images": ["aGk="]}, "images"),
        ({"raw": True, "system": "x"}, "raw"),
        ({"suffix": "x", "raw": True}, "suffix"),
        ({"width": 64}, "width"),
        ({"context": [999999999]}, "999999999"),
    ],
)
def test_generate_refuses_by_name(http: httpx2.Client, more: dict[str, Any], word: str) -> None:
    answer = http.post("/api/generate", json={"model": REAL, "prompt": "Hi", **more})
    assert answer.status_code == 400
    assert word in answer.json()["error"]


def test_control_tokens_in_a_message_are_text(client: ollama.Client) -> None:
    plain = client.chat(REAL, say("x"), options=GREEDY).prompt_eval_count or 0
    laced = client.chat(REAL, say("x<|im_end|>"), options=GREEDY).prompt_eval_count or 0
    assert laced - plain > 3


def test_somebody_is_there(http: httpx2.Client) -> None:
    assert http.get("/").text == "Ollama is running"
    assert http.head("/").status_code == 200
    assert http.get("/api/version").json()["version"]
    assert http.post("/api/push", json={"model": REAL}).status_code == 400

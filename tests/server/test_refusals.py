"""What is too long, or does not go together, is refused in one line with names and numbers."""

import json
import threading
import time

import pytest
from tests.server.test_door import ASK, ask

from tongwen.server.anthropic.messages import MessagesRequest
from tongwen.server.ollama.chat import ChatRequest as OllamaChatRequest
from tongwen.server.ollama.generate import GenerateRequest
from tongwen.server.openai.chat import ChatRequest
from tongwen.server.openai.responses import ResponsesRequest
from tongwen.server.wire import Wire

LONG = "value next user " * 2_000
TURNS = [{"role": "user", "content": "value"}]
CHAT = {"model": "tiny", "messages": TURNS, "max_tokens": 2}
FUNCTION = {"name": "f", "description": LONG, "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
MESSAGE_TOOL = {"name": "f", "description": LONG, "input_schema": {"type": "object"}}
NAMED = {"type": "function", "function": {"name": "f"}}
OLLAMA = {"model": "tiny", "stream": False, "options": {"num_predict": 2}}

TOO_LONG: list[tuple[str, type[Wire], dict[str, object]]] = [
    ("/v1/chat/completions", ChatRequest, {**CHAT, "tools": [TOOL]}),
    (
        "/v1/chat/completions",
        ChatRequest,
        {**CHAT, "messages": [{"role": "system", "content": LONG}, *TURNS]},
    ),
    (
        "/v1/responses",
        ResponsesRequest,
        {"model": "tiny", "input": "value", "tools": [{"type": "function", **FUNCTION}]},
    ),
    (
        "/v1/responses",
        ResponsesRequest,
        {"model": "tiny", "input": "value", "instructions": LONG},
    ),
    ("/v1/messages", MessagesRequest, {**CHAT, "tools": [MESSAGE_TOOL]}),
    ("/v1/messages", MessagesRequest, {**CHAT, "system": LONG}),
    ("/api/chat", OllamaChatRequest, {**OLLAMA, "messages": TURNS, "tools": [TOOL]}),
    (
        "/api/chat",
        OllamaChatRequest,
        {**OLLAMA, "messages": [{"role": "system", "content": LONG}, *TURNS]},
    ),
    ("/api/generate", GenerateRequest, {**OLLAMA, "prompt": "value", "system": LONG}),
]


def message_of(said: bytes) -> str:
    """What an error says, in any dialect."""
    error = json.loads(said)["error"]
    return str(error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize(("path", "kind", "body"), TOO_LONG)
def test_tools_and_system_texts_count_as_what_is_asked(
    tiny_url: str, path: str, kind: type[Wire], body: dict[str, object]
) -> None:
    """They are refused with the numbers; and before, as long texts, encoded off the event loop."""
    status, _, said = ask(tiny_url, path, body)
    assert status == 400
    assert "512" in message_of(said)
    assert any(int(word) > 512 for word in message_of(said).split() if word.isdigit())
    assert kind.model_validate(body).length >= len(LONG)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, _, body in TOO_LONG[::2]])
def test_nobody_waits_while_long_tools_or_system_texts_are_encoded(
    tiny_url: str, path: str, body: dict[str, object]
) -> None:
    longer = json.loads(json.dumps(body).replace(LONG, LONG * 80))
    taken: list[float] = []

    def ask_long() -> None:
        began = time.monotonic()
        assert ask(tiny_url, path, longer)[0] == 400
        taken.append(time.monotonic() - began)

    asking = threading.Thread(target=ask_long)
    asking.start()
    slowest = 0.0
    while asking.is_alive():
        began = time.monotonic()
        assert ask(tiny_url, "/health", method="GET")[0] == 200
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < taken[0] / 2


REFUSED: list[tuple[str, dict[str, object], str]] = [
    ("/v1/chat/completions", {**CHAT, "tool_choice": NAMED}, "`tool_choice` names a tool"),
    (
        "/v1/chat/completions",
        {**CHAT, "tool_choice": "required"},
        "`tool_choice` is `required`, but there are no `tools`",
    ),
    (
        "/v1/responses",
        {"model": "tiny", "input": "a", "tool_choice": {"type": "function", "name": "f"}},
        "`tool_choice` names a tool",
    ),
    (
        "/v1/messages",
        {**CHAT, "tool_choice": {"type": "tool", "name": "f"}},
        "`tool_choice` is `tool`, but there are no tools",
    ),
    (
        "/v1/chat/completions",
        {**CHAT, "add_generation_prompt": False},
        "`add_generation_prompt` is not supported",
    ),
    (
        "/v1/chat/completions",
        {**CHAT, "add_generation_prompt": True, "continue_final_message": True},
        "exclude each other",
    ),
    ("/v1/chat/completions", {**CHAT, "modalities": ["text", "audio"]}, "`modalities[1]`"),
    ("/v1/chat/completions", {**CHAT, "audio": {"voice": "a"}}, "`audio` is not supported"),
    *(
        (path, {**wish, "stream_options": {}}, "`stream_options` goes with `stream`: true")
        for path, wish in (
            ("/v1/chat/completions", CHAT),
            ("/v1/completions", ASK),
            ("/v1/responses", {"model": "tiny", "input": "a"}),
        )
    ),
    *(
        (path, {**wish, "stream": True, "prompt_logprobs": 1}, "`prompt_logprobs` is not supported")
        for path, wish in (("/v1/chat/completions", CHAT), ("/v1/completions", ASK))
    ),
    (
        "/v1/completions",
        {**ASK, "stream": True, "echo": True, "logprobs": 1},
        "`stream` is not supported",
    ),
    ("/v1/completions", {**ASK, "stream": True, "best_of": 2}, "`best_of` chooses"),
    ("/v1/completions", {**ASK, "stream": True, "prompt": ["a", "b"]}, "2 prompts"),
]


@pytest.mark.parametrize(("path", "body", "message"), REFUSED)
def test_what_does_not_go_together_is_refused_in_one_line(
    tiny_url: str, path: str, body: dict[str, object], message: str
) -> None:
    status, headers, said = ask(tiny_url, path, body)
    assert status == 400, said
    assert headers["content-type"] == "application/json"
    assert message in message_of(said)
    assert "\n" not in message_of(said)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {**CHAT, "modalities": ["text"]}),
        ("/v1/chat/completions", {**CHAT, "tool_choice": "none"}),
        ("/v1/chat/completions", {**CHAT, "tool_choice": "auto"}),
        (
            "/v1/chat/completions",
            {
                **CHAT,
                "messages": [*TURNS, {"role": "assistant", "content": "value"}],
                "add_generation_prompt": False,
                "continue_final_message": True,
            },
        ),
        ("/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {}}),
        ("/v1/completions", {**ASK, "stream": True, "echo": True}),
        ("/v1/completions", {**ASK, "stream": True, "logprobs": 1}),
        ("/v1/completions", {**ASK, "prompt_logprobs": 1}),
    ],
)
def test_what_goes_together_is_answered(tiny_url: str, path: str, body: dict[str, object]) -> None:
    status, _, said = ask(tiny_url, path, body)
    assert status == 200, said

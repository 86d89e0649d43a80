"""Every parameter is sent, or refused by name."""

from dataclasses import fields

import pytest

from tongwen.client.wire import wire_params
from tongwen.engine.constraint import (
    Choice,
    Constraint,
    JsonObject,
    JsonSchema,
    Lark,
    Regex,
    ToolCalls,
)
from tongwen.engine.params import SamplingParams
from tongwen.errors import RequestError
from tongwen.server.openai.chat import ChatRequest
from tongwen.server.openai.completions import CompletionRequest

VALUES: dict[str, object] = {
    "temperature": 0.5,
    "top_p": 0.25,
    "top_k": 0,
    "min_p": 0.125,
    "typical_p": 0.5,
    "repetition_penalty": 1.5,
    "presence_penalty": -1.0,
    "frequency_penalty": 1.0,
    "logit_bias": {3: 4.0},
    "allowed_token_ids": [1, 2],
    "bad_token_ids": (4,),
    "seed": 0,
    "max_tokens": 0,
    "min_tokens": 2,
    "stop": "end",
    "stop_token_ids": (7, 8),
    "ignore_eos": True,
    "logprobs": 0,
    "prompt_logprobs": 0,
    "prompt_logprobs_from": 3,
    "echo": True,
    "n": 2,
    "best_of": 2,
    "loop_guard": True,
    "language_guard": ["Han"],
    "constraint": JsonObject(),
}
"""Of each parameter a value that is not the neutral one, though some look like nothing."""

REFUSED = {"typical_p", "bad_token_ids"}
REFUSED_IN_CHAT = REFUSED | {"best_of", "echo"}


def params_with(name: str) -> SamplingParams:
    more = {} if name == "max_tokens" else {"max_tokens": 9}
    return SamplingParams(**{**more, name: VALUES[name]})  # type: ignore[arg-type]


def test_the_table_has_every_parameter() -> None:
    assert set(VALUES) == {each.name for each in fields(SamplingParams)}


@pytest.mark.parametrize("is_chat", [False, True])
@pytest.mark.parametrize("name", VALUES)
def test_every_parameter_comes_out_of_the_servers_body_as_it_went_in_or_is_refused(
    name: str, is_chat: bool
) -> None:
    params = params_with(name)
    if name in (REFUSED_IN_CHAT if is_chat else REFUSED):
        with pytest.raises(RequestError, match=f"`{name}`"):
            wire_params(params, is_chat=is_chat)
        return
    said = wire_params(params, is_chat=is_chat)
    if is_chat:
        read = ChatRequest.model_validate({"model": "m", "messages": [{}], **said})._params()
    else:
        read = CompletionRequest.model_validate({"model": "m", "prompt": "p", **said}).params()
    wanted, found = getattr(params, name), getattr(read, name)
    if name == "stop":
        assert read.stop_strings == params.stop_strings
    elif isinstance(wanted, tuple):
        assert tuple(found) == wanted
    else:
        assert found == wanted


@pytest.mark.parametrize(
    "constraint",
    [
        JsonObject(),
        JsonSchema({"type": "object", "properties": {"a": {"type": "integer"}}}),
        Regex("[a-z]+"),
        Choice(["yes", "no"]),
        Lark('start: "a"'),
    ],
    ids=lambda constraint: type(constraint).__name__,
)
@pytest.mark.parametrize("is_chat", [False, True])
def test_every_form_comes_out_as_it_went_in(constraint: Constraint, is_chat: bool) -> None:
    said = wire_params(SamplingParams(max_tokens=9, constraint=constraint), is_chat=is_chat)
    body = CompletionRequest.model_validate({"model": "m", "prompt": "p", **said})
    assert body.params().constraint == constraint


def test_calls_of_tools_are_refused_by_name() -> None:
    calls = ToolCalls(tools=[], form="hermes")
    with pytest.raises(RequestError, match="`constraint` is ToolCalls, which cannot be asked"):
        wire_params(SamplingParams(max_tokens=9, constraint=calls), is_chat=True)


@pytest.mark.parametrize("is_chat", [False, True])
def test_what_is_not_asked_for_is_left_out(is_chat: bool) -> None:
    params = SamplingParams(max_tokens=9, stop_token_ids=[], stop=[])
    assert wire_params(params, is_chat=is_chat) == {"max_tokens": 9}


def test_a_text_without_a_length_is_refused_for_endpoints_would_write_16_tokens() -> None:
    with pytest.raises(RequestError, match="`max_tokens` is missing"):
        wire_params(SamplingParams(), is_chat=False)
    assert wire_params(SamplingParams(), is_chat=True) == {}

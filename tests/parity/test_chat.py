"""Rendered conversations against the Jinja templates, printed by transformers' own machinery.

`goldens/chat.json` holds digests of what the published templates print (`goldens/make_chat.py`);
the sources themselves are read where `TONGWEN_TEMPLATES` names a directory of them, such as
`models/templates` of llama.cpp.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError
from transformers import AddedToken, Qwen2Tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.chat import FAMILIES, ChatFormat, ChatML
from tongwen.tokenizer.files import tokenizer_from_gguf
from tongwen.tokenizer.foreign import JinjaChat
from tongwen.tokenizer.gguf import read_header
from tongwen.tokenizer.special import QWEN2_5, REASONING
from tongwen.tokenizer.template import chat_format
from tongwen.tokenizer.train import train_tokenizer

GOLDENS = Path(__file__).parent / "goldens"
CONVERSATIONS: list[dict[str, Any]] = json.loads(
    (GOLDENS / "conversations.json").read_text(encoding="utf-8")
)
NAMES = [conversation["name"] for conversation in CONVERSATIONS]
PUBLISHED = json.loads((GOLDENS / "chat.json").read_text(encoding="utf-8"))
WITHOUT_TOOLS = [c for c in CONVERSATIONS if not c.get("tools")]

# Qwen2's own format in our words: a default system turn, then every turn alike.
QWEN2_TEMPLATE = (
    "{%- if messages[0].role != 'system' -%}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif -%}"
    "{%- for turn in messages -%}"
    "{{ '<|im_start|>' ~ turn.role ~ '\\n' ~ turn.content ~ '<|im_end|>\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)
REASONERS = (
    *REASONING,
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
)
FOREIGN = {
    "QwQ": ("Qwen-QwQ-32B.jinja", {}),
    "QwQ thinking": ("Qwen-QwQ-32B.jinja", {"enable_thinking": True}),
    "R1-Distill": ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", {}),
    "R1-Distill thinking": (
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja",
        {"enable_thinking": True},
    ),
}


def printed(template: str, conversation: dict[str, Any], **variables: Any) -> str:
    """What transformers prints; raises what the template raises."""
    texts, _ = render_jinja_template(
        [conversation["messages"]],
        tools=conversation.get("tools"),
        chat_template=template,
        add_generation_prompt=conversation.get("add_generation_prompt", True),
        **variables,
    )
    return str(texts[0])


def arguments(conversation: dict[str, Any]) -> dict[str, Any]:
    """The conversation as the arguments of `render` and `text`."""
    return {key: value for key, value in conversation.items() if key != "name"}


def source(file: str) -> str:
    directory = os.environ.get("TONGWEN_TEMPLATES")
    if directory is None:
        pytest.skip("`TONGWEN_TEMPLATES` names no directory of published templates")
    return (Path(directory) / file).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return train_tokenizer([], 256 + len(QWEN2_5), [token.text for token in QWEN2_5])


@pytest.fixture(scope="module")
def metadata(real_gguf: Path) -> dict[str, Any]:
    return read_header(real_gguf).metadata


@pytest.fixture(scope="module")
def tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    return tokenizer_from_gguf(metadata)


@pytest.fixture(scope="module")
def of_reasoners(tokenizer: Tokenizer) -> Tokenizer:
    """The same vocabulary with the control tokens of R1-Distill and QwQ after Qwen2.5's."""
    more = {token: len(tokenizer) + place for place, token in enumerate(REASONERS)}
    return Tokenizer(
        tokenizer.backend, control={**tokenizer.control, **more}, rules=tokenizer.rules
    )


@pytest.fixture(scope="module")
def oracle_of_reasoners(metadata: dict[str, Any]) -> Qwen2Tokenizer:
    built = transformers_tokenizer(metadata)
    for token in REASONERS:
        built.add_tokens([AddedToken(token, special=False, normalized=False)])
    return built


@pytest.fixture(scope="module")
def oracle(metadata: dict[str, Any]) -> Qwen2Tokenizer:
    return transformers_tokenizer(metadata)


def transformers_tokenizer(metadata: dict[str, Any]) -> Qwen2Tokenizer:
    tokens = metadata["tokenizer.ggml.tokens"][: QWEN2_5[0].token_id]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    built = Qwen2Tokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    for token in QWEN2_5:
        built.add_tokens([AddedToken(token.text, special=token.special, normalized=False)])
    return built


def check_ids(
    chat: ChatFormat, oracle: Qwen2Tokenizer, conversation: dict[str, Any], text: str
) -> None:
    rendered = chat.render(**arguments(conversation))
    assert chat.text(**arguments(conversation)) == text
    assert rendered.token_ids == oracle(text, add_special_tokens=False)["input_ids"]
    assert len(rendered.loss_mask) == len(rendered.token_ids)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=NAMES)
def test_the_text_is_that_of_the_published_template(
    small: Tokenizer, conversation: dict[str, Any]
) -> None:
    text = ChatML(small, FAMILIES["qwen2.5"]).text(**arguments(conversation))
    expected = PUBLISHED["qwen2.5"][conversation["name"]]
    assert hashlib.sha256(text.encode()).hexdigest() == expected


def test_every_conversation_has_a_golden() -> None:
    assert sorted(PUBLISHED["qwen2.5"]) == sorted(NAMES)


def test_a_known_template_is_recognised_by_its_text_too(small: Tokenizer) -> None:
    template = source("Qwen-Qwen2.5-7B-Instruct.jinja")
    for same in (template, template + "{# another digest #}"):
        chat = chat_format(small, same)
        assert isinstance(chat, ChatML)
        assert chat.family == FAMILIES["qwen2.5"]


@pytest.mark.parametrize("conversation", WITHOUT_TOOLS, ids=lambda c: c["name"])
def test_qwen2_prints_as_its_template(small: Tokenizer, conversation: dict[str, Any]) -> None:
    chat = chat_format(small, QWEN2_TEMPLATE)
    assert isinstance(chat, ChatML)
    assert chat.family == FAMILIES["qwen2"]
    assert chat.text(**arguments(conversation)) == printed(QWEN2_TEMPLATE, conversation)


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=NAMES)
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_template_prints_as_in_transformers(
    small: Tokenizer, name: str, conversation: dict[str, Any]
) -> None:
    file, variables = FOREIGN[name]
    template = source(file)
    assert isinstance(chat_format(small, template), JinjaChat)
    chat = JinjaChat(small, template, variables)
    try:
        expected = printed(template, conversation, **variables)
    except TemplateError:
        with pytest.raises(TokenizerError, match="chat template failed"):
            chat.text(**arguments(conversation))
        return
    assert chat.text(**arguments(conversation)) == expected


@pytest.mark.real
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=NAMES)
def test_the_real_models_ids_are_those_of_its_template(
    tokenizer: Tokenizer,
    oracle: Qwen2Tokenizer,
    metadata: dict[str, Any],
    conversation: dict[str, Any],
) -> None:
    template = metadata["tokenizer.chat_template"]
    text = printed(template, conversation)
    chat = chat_format(tokenizer, template, "qwen2.5-coder")
    assert isinstance(chat, ChatML)
    assert chat.family == FAMILIES["qwen2.5-coder"]
    assert chat.stop_ids == (151645, 151643)
    check_ids(chat, oracle, conversation, text)
    check_ids(JinjaChat(tokenizer, template), oracle, conversation, text)


@pytest.mark.real
@pytest.mark.parametrize("conversation", WITHOUT_TOOLS, ids=lambda c: c["name"])
def test_qwen2s_ids_are_those_of_its_template(
    tokenizer: Tokenizer, oracle: Qwen2Tokenizer, conversation: dict[str, Any]
) -> None:
    chat = ChatML(tokenizer, FAMILIES["qwen2"])
    check_ids(chat, oracle, conversation, printed(QWEN2_TEMPLATE, conversation))


@pytest.mark.real
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=NAMES)
@pytest.mark.parametrize("name", FOREIGN)
def test_the_ids_of_a_foreign_template_are_those_of_its_text(
    of_reasoners: Tokenizer,
    oracle_of_reasoners: Qwen2Tokenizer,
    name: str,
    conversation: dict[str, Any],
) -> None:
    file, variables = FOREIGN[name]
    template = source(file)
    ends = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}
    try:
        text = printed(template, conversation, **ends, **variables)
    except TemplateError:
        pytest.skip("the template refuses this conversation")
    chat = JinjaChat(of_reasoners, template, {**ends, **variables})
    check_ids(chat, oracle_of_reasoners, conversation, text)

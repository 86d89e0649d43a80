from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Ends, Tokenizer
from tongwen.tokenizer.chat import FAMILIES, ChatFormat, ChatML
from tongwen.tokenizer.foreign import JinjaChat
from tongwen.tokenizer.template import chat_format
from tongwen.tokenizer.train import train_tokenizer

USER = {"role": "user", "content": "2+3?"}
ANSWER = {"role": "assistant", "content": "5"}
SYSTEM_FIRST = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}"
)
TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING = TURNS.replace("m.content", "m.content | trim")
FORGETFUL = TURNS.replace("m.content", "m.content.split('</think>')[-1].lstrip('\n')")
QUOTING = "{% for m in messages %}<|im_start|>{{ m | tojson }}<|im_end|>{% endfor %}"
FOREIGN = {"trimming": TRIMMING, "forgetful": FORGETFUL, "quoting": QUOTING}
PIECES = st.sampled_from(["<|im_end|>", "<|im_start|>", "<", "|im_end|>", "<think>", "</think>"])
CONTENTS = st.lists(st.text() | PIECES, max_size=6).map("".join)


def trained(chat: ChatFormat, messages: list[dict[str, Any]]) -> list[str]:
    rendered = chat.render(messages, add_generation_prompt=False)
    pairs = zip(rendered.token_ids, rendered.loss_mask, strict=True)
    return [
        chat.tokenizer.decode([token_id for token_id, _ in stretch])
        for covered, stretch in groupby(pairs, key=lambda pair: pair[1])
        if covered
    ]


@pytest.mark.parametrize(
    ("template", "family"), [(SYSTEM_FIRST + TURNS, "qwen2"), (TURNS, "qwen1.5")]
)
def test_a_template_is_known_by_what_it_prints(
    tokenizer: Tokenizer, template: str, family: str
) -> None:
    chat = chat_format(tokenizer, template)
    assert isinstance(chat, ChatML)
    assert chat.family == FAMILIES[family]


def test_another_system_text_makes_a_family_of_its_own(tokenizer: Tokenizer) -> None:
    chat = chat_format(tokenizer, SYSTEM_FIRST.replace("helpful", "terse") + TURNS)
    assert isinstance(chat, ChatML)
    assert chat.default_system == "You are a terse assistant."
    assert chat.text([USER]).startswith("<|im_start|>system\nYou are a terse assistant.<|im_end|>")


@pytest.mark.parametrize("name", FOREIGN)
def test_a_template_that_prints_otherwise_runs_as_it_is(tokenizer: Tokenizer, name: str) -> None:
    assert isinstance(chat_format(tokenizer, FOREIGN[name]), JinjaChat)


def test_a_template_that_prints_the_time_is_never_taken_for_a_family(tokenizer: Tokenizer) -> None:
    dated = SYSTEM_FIRST.replace("helpful", "{{ strftime_now('%Y') }}")
    chat = chat_format(tokenizer, dated + TURNS)
    assert isinstance(chat, JinjaChat)
    assert chat.text([USER]).startswith("<|im_start|>system\nYou are a 2")


def test_the_hinted_of_two_like_families_is_named(tokenizer: Tokenizer) -> None:
    hinted = chat_format(tokenizer, None, "qwen2.5-coder")
    assert isinstance(hinted, ChatML)
    assert hinted.family.name == "qwen2.5-coder"


@pytest.mark.parametrize("hint", [None, "llama"])
def test_without_a_template_or_a_family_there_is_no_chat(
    tokenizer: Tokenizer, hint: str | None
) -> None:
    with pytest.raises(TokenizerError, match="no chat template") as caught:
        chat_format(tokenizer, None, hint)
    assert "base model" in str(caught.value.hint)


@given(content=CONTENTS, name=st.sampled_from(sorted(FOREIGN)))
def test_no_text_of_a_user_becomes_a_control_token(
    tokenizer: Tokenizer, content: str, name: str
) -> None:
    chat = JinjaChat(tokenizer, FOREIGN[name])
    token_ids = chat.render([{"role": "user", "content": content}]).token_ids
    plain = chat.render([{"role": "user", "content": "x"}]).token_ids
    control = set(tokenizer.control.values())
    assert [i for i in token_ids if i in control] == [i for i in plain if i in control]


def test_a_template_cannot_put_a_control_token_together(tokenizer: Tokenizer) -> None:
    joining = "{{ messages[0].content | replace(' ', '') }}"
    rendered = JinjaChat(tokenizer, joining).render([{"role": "user", "content": "<|im_ end|>"}])
    assert tokenizer.decode(rendered.token_ids) == "<|im_end|>"
    assert tokenizer.control["<|im_end|>"] not in rendered.token_ids


def test_names_arguments_and_definitions_are_text_too(tokenizer: Tokenizer) -> None:
    bad = "<|im_end|>"
    call = {"id": bad, "function": {"name": bad, "arguments": {bad: [bad, 1]}}}
    tool = {"type": "function", "function": {"name": bad, "parameters": {bad: bad}}}
    messages = [
        {"role": "user", "content": bad, "name": bad},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": bad, "tool_call_id": bad},
    ]
    chat = JinjaChat(tokenizer, "{{ messages | tojson }}{{ tools | tojson }}")
    token_ids = chat.render(messages, tools=[tool]).token_ids
    assert tokenizer.decode(token_ids).count(bad) == 11
    assert tokenizer.control[bad] not in token_ids


@pytest.mark.parametrize("name", FOREIGN)
def test_the_ids_decode_to_the_text(tokenizer: Tokenizer, name: str) -> None:
    chat = JinjaChat(tokenizer, FOREIGN[name])
    messages = [
        USER,
        {"role": "assistant", "content": "<think>\na\n</think>\n b <|im_end|> "},
        USER,
    ]
    assert tokenizer.decode(chat.render(messages).token_ids) == chat.text(messages)


def test_the_loss_covers_answers_that_are_printed_as_written(tokenizer: Tokenizer) -> None:
    assert trained(JinjaChat(tokenizer, TURNS), [USER, ANSWER, USER, ANSWER]) == ["5<|im_end|>"] * 2
    rewritten = {"role": "assistant", "content": "<think>a</think>b"}
    assert trained(JinjaChat(tokenizer, FORGETFUL), [USER, rewritten, ANSWER]) == ["5<|im_end|>"]


def test_text_right_after_an_answer_shares_its_run_but_not_its_loss(tokenizer: Tokenizer) -> None:
    followed = TURNS.replace("{{ m.content }}", "{{ m.content }} jumps over")
    chat = JinjaChat(tokenizer, followed)
    messages = [{"role": "assistant", "content": "The lazy dog"}]
    assert trained(chat, messages) == ["The lazy dog"]
    assert chat.render(messages, add_generation_prompt=False).token_ids == tokenizer.encode(
        chat.text(messages, add_generation_prompt=False), allow_control=True
    )


def test_an_answer_is_encoded_as_generation_meets_it(tokenizer: Tokenizer) -> None:
    chat = JinjaChat(tokenizer, TURNS)
    answer = {"role": "assistant", "content": "\n5"}
    end = [tokenizer.control["<|im_end|>"], *tokenizer.encode("\n")]
    assert (
        chat.render([USER, answer], add_generation_prompt=False).token_ids
        == chat.render([USER]).token_ids + tokenizer.encode("\n5") + end
    )


def test_sampled_ids_are_kept(tokenizer: Tokenizer) -> None:
    chat = JinjaChat(tokenizer, FORGETFUL)
    letters = [tokenizer.id_of(letter) for letter in "lazy"]
    end = tokenizer.control["<|im_end|>"]
    prompt, newline = chat.render([USER]).token_ids, tokenizer.encode("\n")
    for sampled in (letters, [*letters, end]):
        message = {"role": "assistant", "content": "lazy", "token_ids": sampled}
        rendered = chat.render([USER, message], add_generation_prompt=False)
        assert rendered.token_ids == [*prompt, *letters, end, *newline]
        assert sum(rendered.loss_mask) == len(sampled)


def test_a_continued_message_is_left_open(tokenizer: Tokenizer) -> None:
    messages = [USER, {"role": "assistant", "content": "The sum"}]
    chat = JinjaChat(tokenizer, TURNS)
    assert chat.text(messages, continue_final_message=True) == (
        "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\nThe sum"
    )


def test_a_message_that_the_template_drops_cannot_be_continued(tokenizer: Tokenizer) -> None:
    dropping = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    with pytest.raises(TokenizerError, match="cannot continue"):
        JinjaChat(tokenizer, dropping).render([USER, ANSWER], continue_final_message=True)


def test_json_in_ascii_is_refused_where_it_would_hide_text(tokenizer: Tokenizer) -> None:
    chat = JinjaChat(tokenizer, "{{ messages | tojson(ensure_ascii=True) }}")
    assert "2+3" in chat.text([USER])
    with pytest.raises(TokenizerError, match="ASCII"):
        chat.text([{"role": "user", "content": "<"}])


def test_a_template_reads_the_end_tokens_and_extra_variables(tokenizer: Tokenizer) -> None:
    ended = Tokenizer(
        tokenizer.backend,
        control=tokenizer.control,
        rules=tokenizer.rules,
        ends=Ends(eos_token_id=tokenizer.control["<|im_end|>"]),
    )
    chat = JinjaChat(ended, "{{ eos_token }}{{ bos_token }}{{ colour }}", {"colour": "red"})
    rendered = chat.render([USER])
    assert chat.text([USER]) == "<|im_end|>red"
    assert rendered.token_ids[0] == tokenizer.control["<|im_end|>"]


def test_the_digest_names_the_template(tokenizer: Tokenizer) -> None:
    digests = {
        JinjaChat(tokenizer, TURNS).digest,
        JinjaChat(tokenizer, TRIMMING).digest,
        JinjaChat(tokenizer, TURNS, {"a": 1}).digest,
    }
    assert len(digests) == 3


def test_a_vocabulary_without_turns_runs_its_template() -> None:
    chat = chat_format(train_tokenizer([], 258, ["<s>", "</s>"]), TURNS)
    assert isinstance(chat, JinjaChat)
    assert chat.text([USER]) == "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n"

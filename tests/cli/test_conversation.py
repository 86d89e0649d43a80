"""Conversations as files."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.cli.conversation import Conversation, load_conversation
from tongwen.errors import RequestError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def talked() -> Conversation:
    conversation = Conversation(system="Be brief.")
    conversation.ask("你好 <|im_end|>")
    conversation.answer("Hello 😀", [5, 6, 7])
    return conversation


@given(TEXTS, TEXTS, st.lists(st.integers(0, 1000)))
def test_a_saved_conversation_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, asked: str, answered: str, token_ids: list[int]
) -> None:
    path = tmp_path_factory.mktemp("saved") / "talk.json"
    conversation = Conversation()
    conversation.ask(asked)
    conversation.answer(answered, token_ids)
    conversation.save(path, model="m", tokenizer="abc")
    assert load_conversation(path, tokenizer="abc") == conversation


def test_the_system_text_is_saved_too(tmp_path: Path) -> None:
    talked().save(tmp_path / "talk.json", model="m", tokenizer="abc")
    assert load_conversation(tmp_path / "talk.json", tokenizer="abc") == talked()


def test_ids_of_another_tokenizer_are_left_out(tmp_path: Path) -> None:
    talked().save(tmp_path / "talk.json", model="m", tokenizer="abc")
    other = load_conversation(tmp_path / "talk.json", tokenizer="xyz")
    assert other.turns == [
        {"role": "user", "content": "你好 <|im_end|>"},
        {"role": "assistant", "content": "Hello 😀"},
    ]


def test_a_message_on_each_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps(message) + "\n\n" for message in talked().messages))
    assert load_conversation(path, tokenizer="abc").system == "Be brief."
    assert len(load_conversation(path, tokenizer="abc").turns) == 2


@pytest.mark.parametrize(
    "text",
    ["", "hello", "[]", "{}", "[1]", '{"messages": 3}', '[{"role": "pirate", "content": "ar"}]',
     '[{"role": "user"}]', '[{"role": "user", "content": "unanswered"}]', "\x00", "[[[["],
)  # fmt: skip
def test_a_file_without_a_conversation_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "talk.json"
    path.write_text(text)
    with pytest.raises(RequestError, match=r"talk\.json`"):
        load_conversation(path, tokenizer="abc")


def test_a_file_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "thesis.json"
    path.write_text('{"chapters": []}')
    with pytest.raises(RequestError, match="something else"):
        talked().save(path, model="m", tokenizer="abc")
    assert path.read_text() == '{"chapters": []}'


def test_an_older_conversation_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    talked().save(path, model="m", tokenizer="abc")
    longer = talked()
    longer.ask("more")
    longer.answer("yes", [1])
    longer.save(path, model="m", tokenizer="abc")
    assert len(load_conversation(path, tokenizer="abc").turns) == 4

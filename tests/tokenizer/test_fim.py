import pytest

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Tokenizer
from tongwen.tokenizer.fim import File, fim_prompt, fim_stop_ids


def test_the_middle_follows_the_prefix_and_the_suffix(tokenizer: Tokenizer) -> None:
    control = tokenizer.control
    assert fim_prompt(tokenizer, "def f(", "\n    return x") == [
        control["<|fim_prefix|>"],
        *tokenizer.encode("def f("),
        control["<|fim_suffix|>"],
        *tokenizer.encode("\n    return x"),
        control["<|fim_middle|>"],
    ]


def test_files_of_a_repository_come_first(tokenizer: Tokenizer) -> None:
    token_ids = fim_prompt(
        tokenizer,
        "a",
        "b",
        repository="books",
        files=[File("x.py", "x = 1\n"), File("y.py", "")],
        path="main.py",
    )
    assert tokenizer.decode(token_ids) == (
        "<|repo_name|>books\n<|file_sep|>x.py\nx = 1\n\n<|file_sep|>y.py\n\n<|file_sep|>main.py\n"
        "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"
    )


def test_text_cannot_become_a_control_token(tokenizer: Tokenizer) -> None:
    text = "<|fim_middle|><|im_end|><|file_sep|>"
    token_ids = fim_prompt(
        tokenizer, text, text, repository=text, files=[File(text, text)], path=text
    )
    special = [token_id for token_id in token_ids if token_id in tokenizer.control.values()]
    names = {token_id: token for token, token_id in tokenizer.control.items()}
    assert [names[token_id] for token_id in special] == [
        "<|repo_name|>",
        "<|file_sep|>",
        "<|file_sep|>",
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
    ]


def test_an_empty_prefix_or_suffix_is_no_gap_less(tokenizer: Tokenizer) -> None:
    assert len(fim_prompt(tokenizer, "", "")) == 3


def test_the_middle_ends_at_any_mark_of_a_file(tokenizer: Tokenizer) -> None:
    stops = fim_stop_ids(tokenizer)
    for end in ("<|endoftext|>", "<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<|im_end|>"):
        assert tokenizer.control[end] in stops


def test_a_vocabulary_without_the_marks_is_refused(older: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"cannot fill a gap: `<\|fim_prefix\|>`"):
        fim_prompt(older, "a", "b")
    with pytest.raises(TokenizerError, match="cannot fill a gap"):
        fim_stop_ids(older)
    with pytest.raises(TokenizerError, match="repo_name"):
        fim_prompt(older, "a", "b", repository="r", path="p")


def test_half_of_a_repository_is_refused(tokenizer: Tokenizer) -> None:
    for more in ({"repository": "r"}, {"path": "p"}):
        with pytest.raises(TokenizerError, match="go together"):
            fim_prompt(tokenizer, "a", "b", **more)
    with pytest.raises(TokenizerError, match="go together"):
        fim_prompt(tokenizer, "a", "b", files=[File("x", "y")])

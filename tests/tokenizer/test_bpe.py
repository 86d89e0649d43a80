import unicodedata

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Ends, Tokenizer, byte_alphabet
from tongwen.tokenizer.special import QWEN2_5
from tongwen.tokenizer.train import train_tokenizer

BYTES = list(byte_alphabet().values())
PIECES = st.sampled_from(
    ["<|im_end|>", "<|im_start|>", "<tool_call>", "e\u0301", "\r\n", "  ", "42"]
)
TEXTS = st.lists(st.text() | PIECES).map("".join)


@given(text=TEXTS)
def test_decoding_what_was_encoded_gives_the_text_in_nfc(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


@given(text=TEXTS)
def test_text_alone_never_becomes_a_control_token(tokenizer: Tokenizer, text: str) -> None:
    assert not set(tokenizer.encode(text)) & set(tokenizer.control.values())


@given(text=TEXTS)
def test_allowed_control_strings_become_their_ids(tokenizer: Tokenizer, text: str) -> None:
    token_ids = tokenizer.encode(text, allow_control=True)
    # None of the control tokens overlaps another, so counting them one by one is exact.
    for token, token_id in tokenizer.control.items():
        assert token_ids.count(token_id) == text.count(token)


def test_the_longest_control_token_wins() -> None:
    tokenizer = train_tokenizer([], 259, ["<a>", "<a><b>", "<b>"])
    assert tokenizer.encode("<a><b><a>", allow_control=True) == [257, 256]


@given(texts=st.lists(TEXTS, max_size=5), allow_control=st.booleans())
def test_a_batch_is_encoded_like_its_texts(
    tokenizer: Tokenizer, texts: list[str], allow_control: bool
) -> None:
    alone = [tokenizer.encode(text, allow_control=allow_control) for text in texts]
    assert tokenizer.encode_batch(texts, allow_control=allow_control) == alone


@given(text=TEXTS)
def test_the_bytes_of_the_tokens_joined_are_the_text(tokenizer: Tokenizer, text: str) -> None:
    joined = b"".join(map(tokenizer.token_bytes, tokenizer.encode(text)))
    assert joined == unicodedata.normalize("NFC", text).encode()


def test_the_empty_text_has_no_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == []
    assert tokenizer.encode("", allow_control=True) == []
    assert tokenizer.decode([]) == ""


def test_zero_bytes_are_text_like_any_other(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\0\0b")) == "a\0\0b"


@pytest.mark.parametrize("text", ["\ud800", "ok \udfff"])
def test_half_a_surrogate_pair_is_refused_with_its_place(tokenizer: Tokenizer, text: str) -> None:
    for encode in (tokenizer.encode, lambda each: tokenizer.encode_batch(["fine", each])):
        with pytest.raises(TokenizerError, match=f"lone surrogate .* at character {len(text) - 1}"):
            encode(text)


def test_bytes_that_are_no_utf8_decode_to_the_replacement_character(tokenizer: Tokenizer) -> None:
    first_of_three = tokenizer.id_of(byte_alphabet()[0xE4])
    assert first_of_three is not None
    assert tokenizer.decode([first_of_three, *tokenizer.encode("a")]) == "\ufffda"


def test_digits_stand_alone(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("1234567890")) == 10


def test_skipping_control_tokens_leaves_tool_markers_to_be_read() -> None:
    tokenizer = train_tokenizer([], 300, [token.text for token in QWEN2_5])
    special = [token.text for token in QWEN2_5 if token.special]
    tokenizer = Tokenizer(
        tokenizer.backend, control=tokenizer.control, special=special, rules=tokenizer.rules
    )
    token_ids = tokenizer.encode("<tool_call>x</tool_call><|im_end|>", allow_control=True)
    assert tokenizer.decode(token_ids, skip_control=True) == "<tool_call>x</tool_call>"
    assert tokenizer.decode(token_ids) == "<tool_call>x</tool_call><|im_end|>"


def test_padding_rows_stand_for_nothing_and_ids_beyond_them_are_refused(
    tokenizer: Tokenizer,
) -> None:
    padded = Tokenizer(
        tokenizer.backend, control=tokenizer.control, rules=tokenizer.rules, num_rows=1024
    )
    assert len(padded) == padded.num_tokens == len(tokenizer)
    assert padded.token_bytes(1023) == b""
    assert padded.decode([1023, *padded.encode("a"), 1000]) == "a"
    for unknown in (1024, -1):
        with pytest.raises(TokenizerError, match=f"token id `{unknown}`"):
            padded.token_bytes(unknown)
        with pytest.raises(TokenizerError, match=f"token id `{unknown}`"):
            padded.decode([unknown])
    with pytest.raises(TokenizerError):
        tokenizer.token_bytes(len(tokenizer))


def test_tokens_are_found_by_name(tokenizer: Tokenizer) -> None:
    assert tokenizer.id_of("<|im_end|>") == tokenizer.control["<|im_end|>"]
    assert tokenizer.encode("a") == [tokenizer.id_of("a")]
    assert tokenizer.id_of("no such token") is None


def test_the_digest_changes_with_whatever_changes_ids() -> None:
    def digest(
        tokens: tuple[str, ...] = (*BYTES, "ab", "cd"),
        merges: tuple[tuple[str, str], ...] = (("a", "b"), ("c", "d")),
        **changes: object,
    ) -> str:
        settings = {"control": {"<x>": 300}} | changes
        return Tokenizer.from_vocabulary(tokens, list(merges), **settings).digest

    variants = [
        digest(),
        digest(tokens=(*BYTES, "cd", "ab")),
        digest(merges=(("c", "d"), ("a", "b"))),
        digest(control={"<x>": 301}),
        digest(control={"<y>": 300}),
        digest(special=()),
        digest(nfc=False),
        digest(pattern=r"\s+"),
    ]
    assert len(set(variants)) == len(variants)
    assert digest() == digest(num_rows=999, ends=Ends(eos_token_id=3))


@pytest.mark.parametrize(
    ("tokens", "merges", "settings", "says"),
    [
        (BYTES, [("a", "b")], {}, "merges do not fit"),
        (BYTES[1:], [], {}, "1 of 256 bytes are no token"),
        ([*BYTES, "a"], [], {}, "1 tokens occur twice"),
        (BYTES, [], {"control": {"<x>": 5}}, "control token `<x>` has id `5`"),
        (BYTES, [], {"control": {"<x>": -1}}, "control token `<x>` has id `-1`"),
        (BYTES, [], {"control": {"<x>": 300, "<y>": 300}}, "share an id"),
        (BYTES, [], {"control": {"a": 300}}, "`a` is also an ordinary token"),
        (BYTES, [], {"special": ["<x>"]}, "special token `<x>` is no control token"),
        (BYTES, [], {"pattern": "("}, "split pattern"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    tokens: list[str], merges: list[tuple[str, str]], settings: dict[str, object], says: str
) -> None:
    with pytest.raises(TokenizerError, match=says):
        Tokenizer.from_vocabulary(tokens, merges, **({"control": {}} | settings))


def test_ids_with_holes_count_up_to_the_last() -> None:
    vocabulary = {char: place for place, char in enumerate(BYTES)} | {"ab": 400}
    tokenizer = Tokenizer.from_vocabulary(vocabulary, [("a", "b")], control={})
    assert len(tokenizer) == 401
    assert tokenizer.decode(tokenizer.encode("abab")) == "abab"
    assert tokenizer.token_bytes(399) == b""


def test_a_token_that_is_not_in_byte_level_form_is_refused_when_its_bytes_are_asked_for() -> None:
    tokenizer = Tokenizer.from_vocabulary([*BYTES, "通"], [], control={})
    assert tokenizer.decode(tokenizer.encode("通")) == "通"
    with pytest.raises(TokenizerError, match="not in byte-level form"):
        tokenizer.token_bytes(256)


def test_decoding_equals_the_librarys_own(tokenizer: Tokenizer) -> None:
    backend: tokenizers.Tokenizer = tokenizer.backend
    ordinary = [i for i in range(len(tokenizer)) if i not in tokenizer.control.values()]
    scrambled = [ordinary[(place * 7919) % len(ordinary)] for place in range(5000)]
    assert tokenizer.decode(scrambled) == backend.decode(scrambled)

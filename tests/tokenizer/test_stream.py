import pytest
from hypothesis import given
from hypothesis import strategies as st

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Tokenizer, byte_alphabet
from tongwen.tokenizer.stream import StopStrings, TextStream

SAMPLE = "naïve 通问 🦊👩‍👩‍👧 e\u0301 \u0000 end"


def streamed(
    tokenizer: Tokenizer, token_ids: list[int], *, skip_control: bool = False
) -> list[str]:
    stream = TextStream(tokenizer, skip_control=skip_control)
    return [*map(stream.push, token_ids), stream.finish()]


def bytes_as_ids(tokenizer: Tokenizer, raw: bytes) -> list[int]:
    ids = [tokenizer.id_of(byte_alphabet()[byte]) for byte in raw]
    return [token_id for token_id in ids if token_id is not None]


@given(data=st.data(), skip_control=st.booleans())
def test_streamed_text_joined_is_the_whole_text(
    tokenizer: Tokenizer, data: st.DataObject, skip_control: bool
) -> None:
    token_ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1)))
    whole = tokenizer.decode(token_ids, skip_control=skip_control)
    assert "".join(streamed(tokenizer, token_ids, skip_control=skip_control)) == whole


@given(raw=st.binary())
def test_any_bytes_one_by_one_give_what_they_give_at_once(tokenizer: Tokenizer, raw: bytes) -> None:
    token_ids = bytes_as_ids(tokenizer, raw)
    assert "".join(streamed(tokenizer, token_ids)) == raw.decode("utf-8", "replace")


@pytest.mark.parametrize("split", range(len(SAMPLE.encode()) + 1))
def test_a_split_at_any_byte_shows_whole_characters_only(tokenizer: Tokenizer, split: int) -> None:
    raw = SAMPLE.encode()
    stream = TextStream(tokenizer)
    early = "".join(map(stream.push, bytes_as_ids(tokenizer, raw[:split])))
    assert early == raw[:split].decode("utf-8", "ignore")
    late = "".join(map(stream.push, bytes_as_ids(tokenizer, raw[split:]))) + stream.finish()
    assert early + late == SAMPLE


def test_text_comes_as_soon_as_it_is_certain(tokenizer: Tokenizer) -> None:
    fox = bytes_as_ids(tokenizer, "a🦊".encode())
    assert streamed(tokenizer, fox) == ["a", "", "", "", "🦊", ""]
    assert streamed(tokenizer, fox[:-1]) == ["a", "", "", "", "\ufffd"]


def test_a_finished_stream_begins_anew(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer)
    stream.push(bytes_as_ids(tokenizer, b"\xf0")[0])
    assert stream.finish() == "\ufffd"
    assert stream.push(bytes_as_ids(tokenizer, b"a")[0]) == "a"


def test_unknown_ids_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError):
        TextStream(tokenizer).push(len(tokenizer))


def cut(text: str, stops: list[str]) -> tuple[str, str | None]:
    """By the definition: the first end of a stop string, the longest that ends there."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            longest = max(ending, key=len)
            return text[: end - len(longest)], longest
    return text, None


LETTERS = st.text("abc")


@given(pieces=st.lists(LETTERS), stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=4))
def test_stop_strings_cut_at_the_first_match_however_the_text_arrives(
    pieces: list[str], stops: list[str]
) -> None:
    stream = StopStrings(stops)
    shown = "".join(map(stream.push, pieces)) + stream.finish()
    assert (shown, stream.matched) == cut("".join(pieces), stops)


@given(text=LETTERS, stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_only_what_may_begin_a_stop_string_is_held_back(text: str, stops: list[str]) -> None:
    stream = StopStrings(stops)
    shown = stream.push(text)
    if stream.matched is None:
        held = text.removeprefix(shown)
        assert not held or any(stop.startswith(held) for stop in stops)


def test_a_stop_string_may_span_pushes() -> None:
    stream = StopStrings(["\nUser:"])
    assert [stream.push("Hi.\nUs"), stream.push("er"), stream.push(": x"), stream.finish()] == [
        "Hi.",
        "",
        "",
        "",
    ]
    assert stream.matched == "\nUser:"
    assert stream.push("more") == ""


def test_without_stop_strings_nothing_is_held_back() -> None:
    stream = StopStrings([])
    assert stream.push("abc") == "abc"
    assert stream.matched is None


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(TokenizerError, match="empty"):
        StopStrings(["a", ""])

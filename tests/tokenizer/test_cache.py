import logging
from pathlib import Path

import pytest

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Ends, Tokenizer
from tongwen.tokenizer.cache import cached_tokenizer


class Builder:
    """Counts how often the tokenizer is built."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.built = tokenizer, 0

    def __call__(self) -> Tokenizer:
        self.built += 1
        return self.tokenizer


@pytest.fixture
def build(tokenizer: Tokenizer) -> Builder:
    return Builder(
        Tokenizer(
            tokenizer.backend,
            control=tokenizer.control,
            special=["<|im_end|>"],
            rules=tokenizer.rules,
            num_rows=1000,
            ends=Ends(eos_token_id=5, add_bos_token=True),
        )
    )


def test_a_second_start_reads_what_the_first_built(build: Builder, tmp_path: Path) -> None:
    first = cached_tokenizer("ab12", tmp_path / "new", build)
    second = cached_tokenizer("ab12", tmp_path / "new", build)
    assert build.built == 1
    assert first is build.tokenizer
    assert second.digest == first.digest
    assert (second.num_rows, second.ends, second.special) == (1000, first.ends, first.special)
    assert second.encode("The lazy 通问") == first.encode("The lazy 通问")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["ab12.tokenizer"]


def test_another_source_has_another_file(build: Builder, tmp_path: Path) -> None:
    cached_tokenizer("ab12", tmp_path, build)
    cached_tokenizer("cd34", tmp_path, build)
    assert build.built == 2


@pytest.mark.parametrize("damage", ["", "cut", "flip", "[]\n{}", "{}\n{}"])
def test_a_damaged_file_is_built_anew(build: Builder, tmp_path: Path, damage: str) -> None:
    cached_tokenizer("ab12", tmp_path, build)
    file = tmp_path / "ab12.tokenizer"
    whole = file.read_bytes()
    flipped = whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]
    file.write_bytes({"cut": whole[:-9], "flip": flipped}.get(damage, damage.encode()))
    assert cached_tokenizer("ab12", tmp_path, build).digest == build.tokenizer.digest
    assert build.built == 2
    assert file.read_bytes() == whole


def test_a_directory_that_cannot_be_written_is_no_failure(
    build: Builder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with caplog.at_level(logging.WARNING):
        assert cached_tokenizer("ab12", blocked / "cache", build) is build.tokenizer
    assert "could not be kept" in caplog.text


@pytest.mark.parametrize("key", ["", "../x", "AB", "g0"])
def test_a_key_that_is_no_digest_is_refused(build: Builder, tmp_path: Path, key: str) -> None:
    with pytest.raises(TokenizerError, match="hexadecimal"):
        cached_tokenizer(key, tmp_path, build)

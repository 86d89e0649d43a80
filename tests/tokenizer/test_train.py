import pytest

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import byte_alphabet
from tongwen.tokenizer.train import train_tokenizer

TEXTS = ["low lower lowest low low", "new newer newest", "通问通问通问"]


def test_training_twice_gives_the_same_vocabulary() -> None:
    assert train_tokenizer(TEXTS, 290).digest == train_tokenizer(iter(TEXTS), 290).digest


def test_control_tokens_follow_the_last_learned_one() -> None:
    tokenizer = train_tokenizer(TEXTS, 270)
    assert len(tokenizer) == 270
    assert dict(tokenizer.control) == {"<|endoftext|>": 267, "<|im_start|>": 268, "<|im_end|>": 269}
    assert (tokenizer.ends.eos_token_id, tokenizer.ends.pad_token_id) == (269, 267)


def test_frequent_pairs_are_merged() -> None:
    tokenizer = train_tokenizer(TEXTS, 270)
    assert len(tokenizer.encode("low")) == 1
    assert len(tokenizer.encode("qxj")) == 3


def test_little_text_gives_fewer_tokens() -> None:
    assert len(train_tokenizer(["ab"], 1000)) == 256 + 3


def test_every_byte_is_a_token() -> None:
    tokenizer = train_tokenizer([], 259)
    assert all(tokenizer.id_of(char) is not None for char in byte_alphabet().values())


def test_a_size_without_room_for_all_bytes_is_refused() -> None:
    with pytest.raises(TokenizerError, match="258"):
        train_tokenizer(TEXTS, 258)

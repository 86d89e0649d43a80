import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import PATTERN, Ends, Tokenizer, byte_alphabet
from tongwen.tokenizer.files import (
    read_chat_template,
    read_tokenizer,
    save_tokenizer,
    tokenizer_from_gguf,
)
from tongwen.tokenizer.special import QWEN2_5
from tongwen.tokenizer.train import train_tokenizer

TEXT = "The lazy dog: 12 e\u0301 通问 <|im_end|>\r\n"


@pytest.fixture
def saved(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    save_tokenizer(
        tokenizer,
        tmp_path,
        chat_template="{{ messages }}",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=32768,
    )
    return tmp_path


def change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def ranks_file(tokenizer: Tokenizer, directory: Path) -> Path:
    ordinary = len(tokenizer) - len(tokenizer.control)
    lines = [
        base64.b64encode(tokenizer.token_bytes(rank)) + b" %d\n" % rank for rank in range(ordinary)
    ]
    file = directory / "small.tiktoken"
    file.write_bytes(b"".join(lines))
    return file


def gguf_metadata(tokenizer: Tokenizer, padding: int = 5) -> dict[str, object]:
    """What a converter writes into a GGUF header for this vocabulary."""
    model = json.loads(tokenizer.backend.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    types = [1] * len(tokens) + [4 if "tool" in token else 3 for token in tokenizer.control]
    tokens += [*tokenizer.control, *(f"[PAD{place}]" for place in range(padding))]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types + [5] * padding,
        "tokenizer.ggml.merges": [" ".join(merge) for merge in model["merges"]],
        "tokenizer.ggml.eos_token_id": tokenizer.control["<|im_end|>"],
        "tokenizer.ggml.bos_token_id": tokenizer.control["<|endoftext|>"],
        "tokenizer.ggml.padding_token_id": tokenizer.control["<|endoftext|>"],
        "tokenizer.ggml.add_bos_token": False,
    }


def test_what_was_saved_is_read_back(tokenizer: Tokenizer, saved: Path) -> None:
    read = read_tokenizer(saved)
    assert read.digest == tokenizer.digest
    assert read.encode(TEXT) == tokenizer.encode(TEXT)
    assert read.ends == Ends(
        eos_token_id=tokenizer.control["<|im_end|>"],
        pad_token_id=tokenizer.control["<|endoftext|>"],
    )
    assert read_chat_template(saved) == "{{ messages }}"


def test_transformers_gives_the_same_ids_from_the_saved_directory(
    tokenizer: Tokenizer, saved: Path
) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(saved)
    assert type(theirs).__name__ == "Qwen2Tokenizer"
    assert theirs(TEXT)["input_ids"] == tokenizer.encode(TEXT, allow_control=True)
    assert len(theirs) == len(tokenizer)
    assert (theirs.eos_token, theirs.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert theirs.model_max_length == 32768


def test_vocab_and_merges_are_read_alike(tokenizer: Tokenizer, saved: Path) -> None:
    (saved / "tokenizer.json").unlink()
    assert read_tokenizer(saved).digest == tokenizer.digest


def test_added_tokens_may_stand_in_their_own_file(saved: Path) -> None:
    (saved / "tokenizer.json").unlink()
    (saved / "tokenizer_config.json").unlink()
    size = len(json.loads((saved / "vocab.json").read_text()))
    added = {"<|endoftext|>": size, "<tool_call>": size + 1}
    (saved / "added_tokens.json").write_text(json.dumps(added))
    read = read_tokenizer(saved / "vocab.json")
    assert dict(read.control) == added
    assert read.special == {"<|endoftext|>"}


@pytest.mark.parametrize("form", ["pairs", "strings"])
def test_merges_are_read_in_both_forms(tokenizer: Tokenizer, saved: Path, form: str) -> None:
    file = saved / "tokenizer.json"
    model = json.loads(file.read_text())["model"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    model["merges"] = pairs if form == "pairs" else [" ".join(pair) for pair in pairs]
    change(file, model=model)
    assert read_tokenizer(saved).digest == tokenizer.digest


def test_ranks_imply_the_merges(older: Tokenizer, tmp_path: Path) -> None:
    read = read_tokenizer(ranks_file(older, tmp_path))
    assert read.digest == older.digest
    assert read_tokenizer(tmp_path).encode(TEXT) == older.encode(TEXT)


def test_the_vocabulary_inside_a_gguf_is_read(tokenizer: Tokenizer) -> None:
    read = tokenizer_from_gguf(gguf_metadata(tokenizer))
    assert read.encode(TEXT) == tokenizer.encode(TEXT)
    assert dict(read.control) == dict(tokenizer.control)
    assert read.special == {token.text for token in QWEN2_5 if token.special}
    assert (len(read), read.num_rows) == (len(tokenizer), len(tokenizer) + 5)
    assert read.ends.eos_token_id == tokenizer.control["<|im_end|>"]


def test_a_missing_nfc_stays_missing(tokenizer: Tokenizer, saved: Path) -> None:
    change(saved / "tokenizer.json", normalizer=None)
    read = read_tokenizer(saved)
    assert read.decode(read.encode("e\u0301")) == "e\u0301"
    assert read.digest != tokenizer.digest


def test_another_split_pattern_is_honoured(saved: Path) -> None:
    file = saved / "tokenizer.json"
    rules = json.loads(file.read_text())["pre_tokenizer"]
    assert rules["pretokenizers"][0]["pattern"]["Regex"] == PATTERN
    rules["pretokenizers"][0]["pattern"]["Regex"] = "."
    change(file, pre_tokenizer=rules)
    assert len(read_tokenizer(saved).encode("dog dog")) == 7


def test_foreign_rules_are_handed_to_the_library(tokenizer: Tokenizer, saved: Path) -> None:
    lower = {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}
    change(saved / "tokenizer.json", normalizer=lower)
    read = read_tokenizer(saved)
    assert read.decode(read.encode("É DOG")) == "e\u0301 dog"
    assert read.digest != tokenizer.digest
    save_tokenizer(
        read,
        saved,
        chat_template=None,
        eos_token="<|im_end|>",
        pad_token=None,
        model_max_length=9,
    )
    assert read_tokenizer(saved).digest == read.digest
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(saved)(TEXT)["input_ids"] == read.encode(
        TEXT, allow_control=True
    )


def test_the_rows_of_the_model_beside_it_are_known(saved: Path) -> None:
    (saved / "config.json").write_text('{"vocab_size": 1024}')
    assert read_tokenizer(saved).num_rows == 1024


def test_a_template_in_its_own_file_comes_first(saved: Path) -> None:
    (saved / "chat_template.jinja").write_text("own")
    assert read_chat_template(saved) == "own"


def test_of_named_templates_the_default_is_taken(saved: Path) -> None:
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    change(saved / "tokenizer_config.json", chat_template=named)
    assert read_chat_template(saved) == "d"
    change(saved / "tokenizer_config.json", chat_template=named[:1])
    with pytest.raises(TokenizerError, match="tool_use"):
        read_chat_template(saved)


def test_no_template_is_none(tmp_path: Path) -> None:
    assert read_chat_template(tmp_path) is None


def test_an_end_that_is_no_control_token_is_not_saved(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="`</s>` is no control token"):
        save_tokenizer(
            tokenizer,
            tmp_path,
            chat_template=None,
            eos_token="</s>",
            pad_token=None,
            model_max_length=1,
        )
    assert list(tmp_path.iterdir()) == []


def vocab_of(saved: Path) -> dict[str, Any]:
    model: dict[str, Any] = json.loads((saved / "tokenizer.json").read_text())["model"]
    return model


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {"type": "WordPiece"}}, "no BPE"),
        ({"model": {"type": "BPE", "vocab": [], "merges": []}}, "vocabulary is no table"),
        ({"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}}, "vocabulary is no table"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, "255 of 256 bytes"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": {}}}, "merges are no list"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["x"]}}, "merge `x`"),
        ({"model": {"type": "BPE", "byte_fallback": True}}, "`byte_fallback`"),
        ({"added_tokens": [{"id": "7", "content": "<x>"}]}, "no added token"),
        ({"added_tokens": "x"}, "no added token"),
        ({"added_tokens": [{"id": 900, "content": "<x>", "rstrip": True}]}, "`rstrip`"),
        ({"added_tokens": [{"id": 3, "content": "<x>"}]}, "has id `3`"),
        ({"normalizer": {"type": "Magic"}}, "normaliser or pre-tokenizer"),
        ({"pre_tokenizer": {"type": "Magic"}}, "normaliser or pre-tokenizer"),
    ],
)
def test_an_unfit_tokenizer_json_is_refused_by_name(
    saved: Path, changes: dict[str, Any], says: str
) -> None:
    change(saved / "tokenizer.json", **changes)
    with pytest.raises(TokenizerError, match=says) as caught:
        read_tokenizer(saved)
    assert str(saved / "tokenizer.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_files_are_refused_by_name(saved: Path, content: bytes) -> None:
    (saved / "tokenizer.json").write_bytes(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        read_tokenizer(saved)


def test_merges_of_unknown_tokens_are_refused(saved: Path) -> None:
    model = vocab_of(saved)
    change(saved / "tokenizer.json", model=model | {"merges": [["q", "\u0001"]]})
    with pytest.raises(TokenizerError, match="merges do not fit"):
        read_tokenizer(saved)


@pytest.mark.parametrize("line", [b"YQ==", b"YQ== x", b"!! 1", b"YQ== 1 2", b"Yg== 7"])
def test_a_malformed_line_of_ranks_is_refused(
    older: Tokenizer, tmp_path: Path, line: bytes
) -> None:
    file = ranks_file(older, tmp_path)
    file.write_bytes(file.read_bytes() + line)
    with pytest.raises(TokenizerError, match=r"small\.tiktoken"):
        read_tokenizer(tmp_path)


def test_ranks_that_no_training_gives_are_refused(tmp_path: Path) -> None:
    tokens = [bytes([byte]) for byte in range(256)] + [b"abc"]
    lines = [base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)]
    (tmp_path / "odd.tiktoken").write_bytes(b"".join(lines))
    with pytest.raises(TokenizerError, match="not made of two earlier tokens"):
        read_tokenizer(tmp_path)


def test_a_directory_without_a_tokenizer_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="holds no tokenizer") as caught:
        read_tokenizer(tmp_path)
    assert "tokenizer.json" in str(caught.value.hint)
    with pytest.raises(TokenizerError, match="does not exist"):
        read_tokenizer(tmp_path / "absent")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model", "llama", "`llama`; `gpt2` expected"),
        ("pre", "llama-bpe", "`qwen2` or `deepseek-r1-qwen` expected"),
        ("tokens", None, "no list of str"),
        ("tokens", ["a", 1], "no list of str"),
        ("token_type", [1, 1], "types of 2"),
        ("merges", ["ab"], "not two tokens"),
        ("merges", ["a \u0001"], "merges do not fit"),
        ("eos_token_id", 10**6, "`1000000`"),
        ("bos_token_id", "x", "`x`"),
    ],
)
def test_an_unfit_gguf_vocabulary_is_refused(
    tokenizer: Tokenizer, key: str, value: object, says: str
) -> None:
    metadata = gguf_metadata(tokenizer) | {f"tokenizer.ggml.{key}": value}
    with pytest.raises(TokenizerError, match=says):
        tokenizer_from_gguf(metadata)


def test_token_types_without_a_place_are_refused(tokenizer: Tokenizer) -> None:
    metadata = gguf_metadata(tokenizer)
    types = metadata["tokenizer.ggml.token_type"]
    assert isinstance(types, list)
    types[0] = 6
    with pytest.raises(TokenizerError, match="type `6`"):
        tokenizer_from_gguf(metadata)


def test_tokens_listed_twice_are_refused() -> None:
    metadata = gguf_metadata(train_tokenizer([], 259))
    tokens = metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    tokens[0] = tokens[1]
    with pytest.raises(TokenizerError, match="1 tokens twice"):
        tokenizer_from_gguf(metadata)


def test_every_byte_has_its_own_character() -> None:
    alphabet = byte_alphabet()
    assert sorted(alphabet) == list(range(256))
    assert len(set(alphabet.values())) == 256
    assert (alphabet[0x20], alphabet[0x0A], alphabet[0x41]) == ("Ġ", "Ċ", "A")

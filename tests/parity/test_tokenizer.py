"""Ids of the real vocabulary against transformers' and tiktoken's.

The vocabulary is the one inside the real model's file; the oracles are built from the same lists.
transformers' own conversion of a GGUF drops NFC, and tiktoken never had it: they are compared on
text in NFC.
"""

import base64
import gzip
import json
import sysconfig
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AddedToken, AutoTokenizer, Qwen2Tokenizer

from tongwen.tokenizer.bpe import PATTERN, Tokenizer
from tongwen.tokenizer.files import read_tokenizer, save_tokenizer, tokenizer_from_gguf
from tongwen.tokenizer.gguf import read_header
from tongwen.tokenizer.special import QWEN2_5, control_ids, family
from tongwen.tokenizer.stream import TextStream

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
NUM_RANKS = 151643
EXAMPLES, TEXTS_EACH = 250, 40
assert EXAMPLES * TEXTS_EACH == 10_000, "so many strings are promised"

WORDS = "e\u0301 \u0300 \u1100\u1161 ﬁ 🦊 's 'LL 1 ２ ٣ ² _ (( 通 й ß \u0000 \ufeff \U0010ffff"
PIECES = st.sampled_from([*WORDS.split(), "\r\n", "\n\n", "\t", "  ", "\u00a0", "\u200d"])
TEXTS = st.one_of(st.text(), st.lists(PIECES | st.text(max_size=3)).map("".join))


@pytest.fixture(scope="module")
def metadata(real_gguf: Path) -> dict[str, Any]:
    return read_header(real_gguf).metadata


@pytest.fixture(scope="module")
def tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    return tokenizer_from_gguf(metadata)


@pytest.fixture(scope="module")
def oracle(metadata: dict[str, Any]) -> Qwen2Tokenizer:
    """transformers' tokenizer over the same lists, with no more than `<|endoftext|>` added."""
    return transformers_tokenizer(metadata)


@pytest.fixture(scope="module")
def oracle_with_control(metadata: dict[str, Any]) -> Qwen2Tokenizer:
    """The same with all control tokens, which it finds in any text."""
    built = transformers_tokenizer(metadata)
    # One call each: of a list the special tokens would be added first.
    for token in QWEN2_5:
        built.add_tokens([AddedToken(token.text, special=token.special, normalized=False)])
    return built


def transformers_tokenizer(metadata: dict[str, Any]) -> Qwen2Tokenizer:
    tokens = metadata["tokenizer.ggml.tokens"][:NUM_RANKS]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    return Qwen2Tokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)


@pytest.fixture(scope="module")
def ranks(tokenizer: Tokenizer) -> tiktoken.Encoding:
    return tiktoken.Encoding(
        "same ranks",
        pat_str=PATTERN,
        mergeable_ranks={tokenizer.token_bytes(rank): rank for rank in range(NUM_RANKS)},
        special_tokens={},
    )


@pytest.fixture(scope="module")
def multilingual(shared: Path) -> dict[str, str]:
    with gzip.open(
        shared / "data/corpus/udhr_multilingual.jsonl.gz", "rt", encoding="utf-8"
    ) as file:
        texts = {row["lang"]: row["text"] for row in map(json.loads, file)}
    assert len(texts) == 32
    return texts


@pytest.fixture(scope="module")
def wikitext(shared: Path) -> list[str]:
    texts = []
    for file in sorted((shared / "data/wikitext2").glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            texts.append("".join(str(next(iter(json.loads(line).values()))) for line in lines))
    assert sum(map(len, texts)) > 2_000_000
    return texts


def source_code() -> Iterator[str]:
    """This repository's Python, and a part of the standard library's with its odd encodings."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *library.glob("*.py")]
    for file in sorted(files):
        yield file.read_text(encoding="utf-8", errors="replace")


def theirs(oracle: Qwen2Tokenizer, texts: list[str]) -> list[list[int]]:
    ids: list[list[int]] = oracle(texts, add_special_tokens=False, split_special_tokens=True)[
        "input_ids"
    ]
    return ids


def test_the_vocabulary_is_the_published_one(tokenizer: Tokenizer) -> None:
    assert (len(tokenizer), tokenizer.num_rows) == (151665, 151936)
    assert dict(tokenizer.control) == control_ids(QWEN2_5)
    assert family(tokenizer) == "qwen2.5"
    assert tokenizer.special == {token.text for token in QWEN2_5 if token.special}
    assert tokenizer.encode("Hello world") == [9707, 1879]
    assert tokenizer.encode(" Hello world") == [21927, 1879]


def test_thirty_two_languages_have_the_oracles_ids(
    tokenizer: Tokenizer, oracle: Qwen2Tokenizer, multilingual: dict[str, str]
) -> None:
    texts = list(multilingual.values())
    assert tokenizer.encode_batch(texts) == theirs(oracle, texts)


def test_wikitext_has_the_oracles_ids(
    tokenizer: Tokenizer, oracle: Qwen2Tokenizer, wikitext: list[str]
) -> None:
    assert [tokenizer.encode(text) for text in wikitext] == theirs(oracle, wikitext)


def test_source_code_has_the_oracles_ids(tokenizer: Tokenizer, oracle: Qwen2Tokenizer) -> None:
    texts = list(source_code())
    assert len(texts) > 200
    assert tokenizer.encode_batch(texts) == theirs(oracle, texts)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(TEXTS, min_size=TEXTS_EACH, max_size=TEXTS_EACH))
def test_ten_thousand_strings_have_the_oracles_ids_and_decode_alike(
    tokenizer: Tokenizer, oracle: Qwen2Tokenizer, texts: list[str]
) -> None:
    ids = tokenizer.encode_batch(texts)
    assert ids == theirs(oracle, texts)
    decoded = [tokenizer.decode(each) for each in ids]
    assert decoded == [oracle.decode(each) for each in ids]
    assert decoded == [unicodedata.normalize("NFC", text) for text in texts]


def test_control_strings_have_the_oracles_ids_where_they_are_allowed(
    tokenizer: Tokenizer, oracle_with_control: Qwen2Tokenizer
) -> None:
    for token in tokenizer.control:
        text = f"e\u0301 {token}\n{token}{token} x"
        ids = oracle_with_control(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.encode(text, allow_control=True) == ids
        assert tokenizer.control[token] in ids


def test_tiktoken_gives_the_same_ids_on_nfc_text(
    tokenizer: Tokenizer,
    ranks: tiktoken.Encoding,
    multilingual: dict[str, str],
    wikitext: list[str],
) -> None:
    texts = [*multilingual.values(), *wikitext, *source_code()]
    normal = [unicodedata.normalize("NFC", text) for text in texts]
    assert tokenizer.encode_batch(normal) == ranks.encode_ordinary_batch(normal, num_threads=2)


def test_every_token_has_the_oracles_text(
    tokenizer: Tokenizer, oracle_with_control: Qwen2Tokenizer
) -> None:
    for token_id in range(len(tokenizer)):
        mine = tokenizer.token_bytes(token_id).decode("utf-8", "replace")
        assert mine == oracle_with_control.decode([token_id])


def test_ranks_imply_the_merges_in_their_order(
    tokenizer: Tokenizer, tmp_path: Path, metadata: dict[str, Any]
) -> None:
    lines = (
        base64.b64encode(tokenizer.token_bytes(rank)) + b" %d\n" % rank for rank in range(NUM_RANKS)
    )
    (tmp_path / "qwen.tiktoken").write_bytes(b"".join(lines))
    read = read_tokenizer(tmp_path)
    model = json.loads(read.backend.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    assert merges == metadata["tokenizer.ggml.merges"]
    assert len(read) == NUM_RANKS + 3


def test_streamed_text_is_the_whole_text_in_every_language(
    tokenizer: Tokenizer, multilingual: dict[str, str]
) -> None:
    for text in multilingual.values():
        stream = TextStream(tokenizer)
        pieces = [*map(stream.push, tokenizer.encode(text)), stream.finish()]
        assert "".join(pieces) == unicodedata.normalize("NFC", text)


def test_transformers_loads_what_we_save_with_equal_ids(
    tokenizer: Tokenizer, tmp_path: Path, multilingual: dict[str, str]
) -> None:
    save_tokenizer(
        tokenizer,
        tmp_path,
        chat_template=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=32768,
    )
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in multilingual.values():
        marked = f"<|im_start|>user\n{text}<|im_end|>\n<tool_call>"
        assert tokenizer.encode(marked, allow_control=True) == loaded(marked)["input_ids"]
    assert read_tokenizer(tmp_path).digest == tokenizer.digest


@pytest.mark.slow
def test_transformers_reads_the_same_file_with_equal_ids_on_nfc_text(
    tokenizer: Tokenizer, real_gguf: Path, multilingual: dict[str, str]
) -> None:
    converted = AutoTokenizer.from_pretrained(real_gguf.parent, gguf_file=real_gguf.name)
    for text in multilingual.values():
        normal = unicodedata.normalize("NFC", text)
        assert tokenizer.encode(normal) == converted(normal, add_special_tokens=False)["input_ids"]

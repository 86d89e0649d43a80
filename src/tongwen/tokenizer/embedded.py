"""The vocabulary inside a GGUF file, from its metadata."""

from collections.abc import Mapping
from typing import Any

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Ends, Tokenizer
from tongwen.tokenizer.special import is_special

_SPLITS_LIKE_QWEN2 = ("qwen2", "deepseek-r1-qwen")
_KINDS = _NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5


def tokenizer_from_gguf(metadata: Mapping[str, object]) -> Tokenizer:
    """Build the tokenizer that a GGUF file carries.

    NFC is applied, as the original vocabulary files do; GGUF has no field for it and llama.cpp
    leaves it out.  Control (3) and user-defined (4) tokens become control tokens; unused ones (5)
    are padding rows.  llama.cpp marks every `<|...|>` as control, so whether a known token is
    special is taken from the published files (`special.py`).

    Args:
        metadata: Keys and values of the header; arrays as lists.

    Raises:
        TokenizerError: The vocabulary is of another kind, or its parts do not fit each other.
    """
    _expect(metadata, "tokenizer.ggml.model", ("gpt2",))
    _expect(metadata, "tokenizer.ggml.pre", _SPLITS_LIKE_QWEN2)
    tokens = _list(metadata, "tokenizer.ggml.tokens", str)
    types = _list(metadata, "tokenizer.ggml.token_type", int)
    merges = _list(metadata, "tokenizer.ggml.merges", str)
    if len(types) != len(tokens):
        raise TokenizerError(f"GGUF lists {len(tokens)} tokens, and types of {len(types)}")
    if odd := set(types) - set(_KINDS):
        raise TokenizerError(
            f"GGUF token type `{min(odd)}` has no place in a byte-level vocabulary"
        )
    found: dict[int, dict[str, int]] = {kind: {} for kind in _KINDS}
    for token_id, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        found[kind][token] = token_id
    if twice := len(tokens) - sum(map(len, found.values())):
        raise TokenizerError(f"GGUF lists {twice} tokens twice")
    control = found[_CONTROL] | found[_USER_DEFINED]
    return Tokenizer.from_vocabulary(
        found[_NORMAL],
        [_pair(merge) for merge in merges],
        control=control,
        special=[text for text in control if is_special(text, otherwise=text in found[_CONTROL])],
        num_rows=len(tokens),
        ends=_ends(metadata, len(tokens)),
    )


def _expect(metadata: Mapping[str, object], key: str, known: tuple[str, ...]) -> None:
    value = metadata.get(key)
    if value not in known:
        expected = " or ".join(f"`{name}`" for name in known)
        raise TokenizerError(f"GGUF `{key}` is `{value}`; {expected} expected")


def _list(metadata: Mapping[str, object], key: str, kind: type) -> list[Any]:
    values = metadata.get(key)
    if not isinstance(values, list) or set(map(type, values)) - {kind}:
        raise TokenizerError(f"GGUF `{key}` is no list of {kind.__name__}")
    return values


def _pair(merge: str) -> tuple[str, str]:
    left, space, right = merge.partition(" ")
    if not space:
        raise TokenizerError(f"GGUF merge `{merge}` is not two tokens with a space between")
    return left, right


def _ends(metadata: Mapping[str, object], num_rows: int) -> Ends:
    def token_id(key: str) -> int | None:
        value = metadata.get(f"tokenizer.ggml.{key}")
        if value is not None and not (isinstance(value, int) and 0 <= value < num_rows):
            raise TokenizerError(f"GGUF `tokenizer.ggml.{key}` is `{value}`, of {num_rows} tokens")
        return value

    return Ends(
        bos_token_id=token_id("bos_token_id"),
        eos_token_id=token_id("eos_token_id"),
        pad_token_id=token_id("padding_token_id"),
        add_bos_token=metadata.get("tokenizer.ggml.add_bos_token") is True,
    )

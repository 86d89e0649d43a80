"""Tokenizers from the files that checkpoints carry.

A directory holds `tokenizer.json`, or `vocab.json` with `merges.txt`, or `*.tiktoken` ranks, looked
for in this order; `tokenizer_config.json` beside them names the ends of a sequence and the chat
template.  A GGUF file holds its own (`tokenizer_from_gguf`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import PATTERN, Ends, Tokenizer
from tongwen.tokenizer.cache import cached_tokenizer
from tongwen.tokenizer.embedded import tokenizer_from_gguf
from tongwen.tokenizer.ranks import read_ranks, vocabulary_of
from tongwen.tokenizer.save import save_tokenizer
from tongwen.tokenizer.special import QWEN2, is_special

__all__ = [
    "cached_tokenizer",
    "read_chat_template",
    "read_tokenizer",
    "save_tokenizer",
    "tokenizer_from_gguf",
]

_MAX_BYTES = 256 << 20

Added = dict[str, tuple[int, bool]]
"""Added tokens by text: their id, and whether they are special."""


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer from a directory, a `tokenizer.json`, a `vocab.json` or a `.tiktoken` file.

    Ranks come without control tokens: Qwen2's three follow the last rank, as in the original.

    Raises:
        TokenizerError: There is no such file, or it is damaged or of another kind.
    """
    file = _vocabulary_file(path)
    if file.suffix == ".tiktoken":
        return _from_ranks(file)
    if file.name == "vocab.json":
        return _from_vocab_and_merges(file)
    return _from_tokenizer_json(file)


def read_chat_template(directory: Path) -> str | None:
    """The Jinja chat template of a checkpoint, or `None` if it has none.

    `chat_template.jinja` is looked for first, then `tokenizer_config.json`, where a list of named
    templates stands for its `default`.

    Raises:
        TokenizerError: The file is damaged, or names templates and none is the default.
    """
    file = directory / "chat_template.jinja"
    if file.is_file():
        return _text(file)
    template = _config(directory).get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
        if template is None:
            raise TokenizerError(
                f"`{directory}`: none of the chat templates {list(named)} is default"
            )
    if template is not None and not isinstance(template, str):
        raise TokenizerError(f"`{directory / 'tokenizer_config.json'}`: chat template is no text")
    return template


def _vocabulary_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise TokenizerError(f"`{path}` does not exist")
    for name in ("tokenizer.json", "vocab.json"):
        if (path / name).is_file():
            return path / name
    ranks = sorted(path.glob("*.tiktoken"))
    if len(ranks) == 1:
        return ranks[0]
    raise TokenizerError(
        f"`{path}` holds no tokenizer",
        hint="`tokenizer.json`, `vocab.json` with `merges.txt`, or one `.tiktoken` file is needed",
    )


def _from_tokenizer_json(path: Path) -> Tokenizer:
    tree = _object(path)
    model = tree.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        raise TokenizerError(f"`{path}`: its model is no BPE vocabulary")
    for field in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(field):
            raise TokenizerError(f"`{path}`: `{field}` is `{model[field]}`, which is not supported")
    added = _added(path, tree.get("added_tokens") or [])
    tokenizer = _build(path, model.get("vocab"), model.get("merges"), added, _pattern(tree))
    foreign = _pattern(tree) is None or model.get("ignore_merges")
    return _with_foreign_rules(path, tokenizer, tree) if foreign else tokenizer


def _from_vocab_and_merges(path: Path) -> Tokenizer:
    lines = _text(path.with_name("merges.txt")).split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    decoder = _config(path.parent).get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict) or not all(map(str.isdecimal, decoder)):
        raise TokenizerError(f"`{path.parent}`: `added_tokens_decoder` is no table of ids")
    added = _added(path, [_entry(entry, int(token_id)) for token_id, entry in decoder.items()])
    if path.with_name("added_tokens.json").is_file():
        for token, token_id in _object(path.with_name("added_tokens.json")).items():
            added.setdefault(token, (token_id, is_special(token, otherwise=True)))
    return _build(path, _object(path), merges, added, (PATTERN, True))


def _from_ranks(path: Path) -> Tokenizer:
    _bounded(path)
    tokens, merges = vocabulary_of(read_ranks(path))
    added = {token.text: (len(tokens) + place, True) for place, token in enumerate(QWEN2)}
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    return _build(path, vocabulary, merges, added, (PATTERN, True))


def _build(
    path: Path,
    vocabulary: object,
    merges: object,
    added: Added,
    pattern: tuple[str, bool] | None,
) -> Tokenizer:
    """Check the parts and join them; every error names the file."""
    if not isinstance(vocabulary, dict) or set(map(type, vocabulary.values())) != {int}:
        raise TokenizerError(f"`{path}`: its vocabulary is no table of tokens and ids")
    if not isinstance(merges, list):
        raise TokenizerError(f"`{path}`: its merges are no list")
    split, nfc = pattern or (PATTERN, True)
    ordinary = {token: token_id for token, token_id in vocabulary.items() if token not in added}
    control = {token: token_id for token, (token_id, _) in added.items()}
    try:
        return Tokenizer.from_vocabulary(
            ordinary,
            [_pair(merge) for merge in merges],
            control=control,
            special=[token for token, (_, special) in added.items() if special],
            pattern=split,
            nfc=nfc,
            num_rows=_num_rows(path.parent),
            ends=_ends(path.parent, ordinary | control),
        )
    except TokenizerError as error:
        raise TokenizerError(f"`{path}`: {error}", hint=error.hint) from error


def _pattern(tree: Mapping[str, Any]) -> tuple[str, bool] | None:
    """Split pattern and whether NFC is applied, if the file's rules are of Qwen2's shape."""
    normalizer, rules = tree.get("normalizer"), tree.get("pre_tokenizer") or {}
    nfc = normalizer == {"type": "NFC"}
    if not nfc and normalizer not in (None, {"type": "Sequence", "normalizers": []}):
        return None
    match rules:
        case {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": str(pattern)},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return pattern, nfc
    return None


def _with_foreign_rules(path: Path, tokenizer: Tokenizer, tree: Mapping[str, Any]) -> Tokenizer:
    """The same vocabulary under the normaliser and pre-tokenizer of the file, whatever they are."""
    rules = {key: tree.get(key) for key in ("normalizer", "pre_tokenizer")}
    empty = {"type": "BPE", "vocab": {}, "merges": []}
    shell: dict[str, Any] = {"version": "1.0", "added_tokens": [], "model": empty, **rules}
    backend = tokenizer.backend
    try:
        parsed = tokenizers.Tokenizer.from_str(json.dumps(shell))
        backend.normalizer, backend.pre_tokenizer = parsed.normalizer, parsed.pre_tokenizer
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(f"`{path}`: normaliser or pre-tokenizer: {error}") from error
    ignore_merges = tree["model"].get("ignore_merges") is True
    backend.model.ignore_merges = ignore_merges
    return Tokenizer(
        backend,
        control=tokenizer.control,
        special=tokenizer.special,
        rules=json.dumps([rules, ignore_merges], sort_keys=True),
        num_rows=tokenizer.num_rows,
        ends=tokenizer.ends,
    )


def _added(path: Path, entries: object) -> Added:
    added: Added = {}
    for entry in entries if isinstance(entries, list) else [entries]:
        fields: dict[str, Any] = entry if isinstance(entry, dict) else {}
        text, token_id = fields.get("content"), fields.get("id")
        if not isinstance(text, str) or not isinstance(token_id, int) or not text:
            raise TokenizerError(f"`{path}`: `{entry}` is no added token")
        added[text] = token_id, fields.get("special") is True
        for field in ("lstrip", "rstrip", "single_word"):
            if fields.get(field):
                raise TokenizerError(f"`{path}`: added token `{text}` has `{field}`, not supported")
    return added


def _entry(entry: object, token_id: int) -> object:
    return {**entry, "id": token_id} if isinstance(entry, dict) else entry


def _pair(merge: object) -> tuple[str, str]:
    """One merge, written `"a b"` or `["a", "b"]`."""
    match merge.split(" ") if isinstance(merge, str) else merge:
        case [str(left), str(right)]:
            return left, right
    raise TokenizerError(f"merge `{merge}` is not two tokens")


def _ends(directory: Path, ids: Mapping[str, int]) -> Ends:
    config = _config(directory)

    def token_id(name: str) -> int | None:
        token = config.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        return ids.get(text) if isinstance(text, str) else None

    return Ends(
        bos_token_id=token_id("bos_token"),
        eos_token_id=token_id("eos_token"),
        pad_token_id=token_id("pad_token"),
        add_bos_token=config.get("add_bos_token") is True,
    )


def _num_rows(directory: Path) -> int | None:
    """Rows of the embedding, from the model's config where one lies beside."""
    file = directory / "config.json"
    rows = _object(file).get("vocab_size") if file.is_file() else None
    return rows if isinstance(rows, int) else None


def _config(directory: Path) -> dict[str, Any]:
    file = directory / "tokenizer_config.json"
    return _object(file) if file.is_file() else {}


def _object(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"`{path}` is no JSON: {error}") from error
    if not isinstance(tree, dict):
        raise TokenizerError(f"`{path}` holds no JSON object")
    return tree


def _text(path: Path) -> str:
    _bounded(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"`{path}` is no UTF-8 text: {error}") from error


def _bounded(path: Path) -> None:
    if not path.is_file():
        raise TokenizerError(f"`{path}` does not exist")
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise TokenizerError(f"`{path}` has {size} bytes; a vocabulary has at most {_MAX_BYTES}")

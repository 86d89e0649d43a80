"""A tokenizer as files that transformers, vLLM and llama.cpp's converter load."""

import json
from pathlib import Path
from typing import Any

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import PATTERN, Tokenizer


def save_tokenizer(
    tokenizer: Tokenizer,
    directory: Path,
    *,
    chat_template: str | None,
    eos_token: str,
    pad_token: str | None,
    model_max_length: int,
) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json`, `vocab.json` and `merges.txt`.

    Args:
        tokenizer: What to save.
        directory: Made if it does not exist; files of these names are replaced.
        chat_template: Jinja source, written as it is.
        eos_token: Control token that ends a completion: `<|im_end|>` for instruct models,
            `<|endoftext|>` for base models.
        pad_token: Control token that fills a padded batch.
        model_max_length: Tokens of the longest context that the model is meant for.

    Raises:
        TokenizerError: An end is not one of the control tokens.
    """
    for token in filter(None, (eos_token, pad_token)):
        if token not in tokenizer.control:
            raise TokenizerError(f"`{token}` is no control token of this vocabulary")
    tree = json.loads(tokenizer.backend.to_str())
    vocabulary, merges = tree["model"]["vocab"], tree["model"]["merges"]
    tree["added_tokens"] = [{"id": token_id} | entry for token_id, entry in _added(tokenizer)]
    config = _config(tokenizer) | {
        "eos_token": eos_token,
        "pad_token": pad_token,
        "model_max_length": model_max_length,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    pairs = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "tokenizer.json", _json(tree))
    _write(directory / "tokenizer_config.json", _json(config))
    _write(directory / "vocab.json", json.dumps(vocabulary, ensure_ascii=False))
    _write(directory / "merges.txt", "\n".join(["#version: 0.2", *pairs, ""]))


def _added(tokenizer: Tokenizer) -> list[tuple[int, dict[str, Any]]]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    by_id = sorted(tokenizer.control.items(), key=lambda pair: pair[1])
    return [
        (token_id, {"content": token, **flags, "special": token in tokenizer.special})
        for token, token_id in by_id
    ]


def _config(tokenizer: Tokenizer) -> dict[str, Any]:
    """All of `tokenizer_config.json` that follows from the tokenizer alone.

    `Qwen2Tokenizer` builds its own NFC and split pattern, so it is named only where these are
    what it would build.
    """
    of_qwen2 = tokenizer.rules == f"NFC {PATTERN}"
    ends = tokenizer.ends
    bos = ends.bos_token_id if ends.add_bos_token else None
    return {
        "add_bos_token": ends.add_bos_token,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(token_id): entry for token_id, entry in _added(tokenizer)},
        "bos_token": None if bos is None else tokenizer.decode([bos]),
        "clean_up_tokenization_spaces": False,
        "errors": "replace",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer" if of_qwen2 else "PreTrainedTokenizerFast",
        "unk_token": None,
    }


def _json(tree: object) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")

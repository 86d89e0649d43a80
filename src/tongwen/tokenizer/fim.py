"""Fill-in-the-middle: a prompt that asks for what stands between two texts.

Qwen2.5-Coder writes the middle after `<|fim_prefix|>` prefix `<|fim_suffix|>` suffix
`<|fim_middle|>`, base and instruct models alike, without a chat format.  In a repository other
files come first: `<|repo_name|>` name, then for each `<|file_sep|>` path, a newline and its text.
Source: Qwen2.5-Coder's `examples/Qwen2.5-Coder-fim.py` and `Qwen2.5-Coder-repolevel-fim.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tongwen.errors import TokenizerError
from tongwen.tokenizer.bpe import Tokenizer

PREFIX, SUFFIX, MIDDLE = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"
REPOSITORY, FILE = "<|repo_name|>", "<|file_sep|>"
_ENDS = ("<|endoftext|>", "<|im_end|>", PREFIX, SUFFIX, MIDDLE, "<|fim_pad|>", REPOSITORY, FILE)


@dataclass(frozen=True, slots=True)
class File:
    """A file that the model may look at."""

    path: str
    """Its path inside the repository."""

    text: str
    """What stands in it."""


def fim_prompt(
    tokenizer: Tokenizer,
    prefix: str,
    suffix: str,
    *,
    repository: str | None = None,
    files: Sequence[File] = (),
    path: str | None = None,
) -> list[int]:
    """Token ids of a prompt that the model continues with the middle.

    Each text is encoded on its own with control tokens disabled, so that none can come from it.

    Args:
        tokenizer: The vocabulary of the model.
        prefix: What stands before the gap; may be empty.
        suffix: What stands behind it; may be empty.
        repository: The name of the repository, where other files are given or the path matters.
        files: Other files of the repository.
        path: The path of the file with the gap; needed with `repository`.

    Raises:
        TokenizerError: The vocabulary has no such control tokens; or of `repository` and `path`
            only one is given, or files without them.
    """
    if (repository is None) != (path is None) or (files and repository is None):
        raise TokenizerError("`repository`, its `files` and the `path` of the gap go together")
    token_ids: list[int] = []
    if repository is not None and path is not None:
        _require(tokenizer, REPOSITORY, FILE)
        token_ids += _marked(tokenizer, REPOSITORY, f"{repository}\n")
        for file in files:
            token_ids += _marked(tokenizer, FILE, f"{file.path}\n{file.text}\n")
        token_ids += _marked(tokenizer, FILE, f"{path}\n")
    _require(tokenizer, PREFIX, SUFFIX, MIDDLE)
    token_ids += _marked(tokenizer, PREFIX, prefix) + _marked(tokenizer, SUFFIX, suffix)
    return [*token_ids, tokenizer.control[MIDDLE]]


def fim_stop_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids of which any ends the middle, besides the model's own end.

    Raises:
        TokenizerError: The vocabulary has no control tokens for a gap.
    """
    _require(tokenizer, PREFIX, SUFFIX, MIDDLE)
    return tuple(tokenizer.control[end] for end in _ENDS if end in tokenizer.control)


def _marked(tokenizer: Tokenizer, marker: str, text: str) -> list[int]:
    return [tokenizer.control[marker], *tokenizer.encode(text)]


def _require(tokenizer: Tokenizer, *markers: str) -> None:
    if absent := [marker for marker in markers if marker not in tokenizer.control]:
        raise TokenizerError(
            f"this model cannot fill a gap: `{absent[0]}` is no control token of its vocabulary",
            hint="Qwen2.5-Coder models can; so can other models of Qwen2.5's vocabulary, untrained",
        )

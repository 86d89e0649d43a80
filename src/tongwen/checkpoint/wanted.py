"""Which of a repository's files make a model: only those, and never code or pickles."""

import fnmatch
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from tongwen.checkpoint.download import RemoteFile
from tongwen.checkpoint.manifest import is_file_name
from tongwen.checkpoint.offers import GGUF_SIZES
from tongwen.errors import CheckpointError, ModelNotFoundError

BESIDE_WEIGHTS = (
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "quantize_config.json",
    "quant_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.tiktoken",
    "chat_template.json",
    "chat_template.jinja",
    "LICENSE*",
    "README.md",
)
"""What is taken besides `*.safetensors`, from the top of a repository only."""

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_TYPE = re.compile(
    r"[-.]((?:i?q\d[a-z0-9_]*)|f16|fp16|bf16|f32)(?:-\d{5}-of-\d{5})?\.gguf$", re.IGNORECASE
)


def wanted_files(
    repo: str, files: Sequence[RemoteFile], gguf_type: str | None
) -> tuple[RemoteFile, ...]:
    """The files of `repo` to fetch.

    With `gguf_type` the GGUF of that type (all shards of a split one).  Without, the safetensors
    with their config and tokenizer; a repository that has only GGUF files gives its Q4_K_M, or the
    one it has.

    Raises:
        ModelNotFoundError: There is no such file; the message says what there is.
        CheckpointError: The list holds a path that leads out of the repository, or two files
            that would get one name, or shards are missing from it.
    """
    for file in files:
        _refuse_escape(repo, file.path)
    if gguf_type is None and any(_is_weights(file.path) for file in files):
        chosen = [file for file in files if _belongs(file.path)]
    else:
        chosen = _gguf_files(repo, files, gguf_type)
    _refuse_twins(repo, chosen)
    return tuple(chosen)


def gguf_type_of(name: str) -> str | None:
    """The type that a GGUF's file name states, lower case; `f16` is `fp16`."""
    match = _TYPE.search(name)
    if match is None:
        return None
    return {"f16": "fp16"}.get(match[1].lower(), match[1].lower())


def is_whole(names: Iterable[str]) -> bool:
    """Whether `names` are one GGUF, or all the shards of one."""
    given = list(names)
    shards = [match for name in given if (match := _SHARD.search(name))]
    if not shards:
        return len(given) == 1
    stems = {name[: match.start()] for name, match in zip(given, shards, strict=False)}
    numbers = sorted(int(match[1]) for match in shards)
    counts = {int(match[2]) for match in shards}
    return (
        len(stems) == 1
        and len(given) == len(shards)
        and [numbers] == [list(range(1, count + 1)) for count in counts]
    )


def choose_gguf(names: Sequence[str], gguf_type: str | None) -> list[str]:
    """Of `names`, the GGUF of that type, as one file or else as all its shards; empty if none.

    Without a type: Q4_K_M, else the only type there is.
    """
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    kinds = {gguf_type_of(name) for name in ggufs}
    if gguf_type is None:
        gguf_type = "q4_k_m" if "q4_k_m" in kinds or len(kinds) != 1 else kinds.pop()
    same = sorted(name for name in ggufs if gguf_type_of(name) == _spelled(gguf_type))
    single = [name for name in same if not _SHARD.search(name)]
    return single[:1] if single else same


def _spelled(gguf_type: str | None) -> str | None:
    return "fp16" if gguf_type == "f16" else gguf_type


def _gguf_files(repo: str, files: Sequence[RemoteFile], gguf_type: str | None) -> list[RemoteFile]:
    names = [file.path for file in files]
    chosen = choose_gguf(names, gguf_type)
    if not chosen:
        raise ModelNotFoundError(f"`{repo}` has no {_what(gguf_type)}; it has {_inventory(names)}")
    if not is_whole(chosen):
        raise CheckpointError(f"`{repo}` lists only {len(chosen)} of the shards of `{chosen[0]}`")
    return [file for file in files if file.path in chosen]


def _what(gguf_type: str | None) -> str:
    return f"`{gguf_type}` GGUF" if gguf_type else "safetensors and no Q4_K_M GGUF"


def _inventory(names: Sequence[str]) -> str:
    kinds = sorted({kind for name in names if (kind := gguf_type_of(name))}, key=_order)
    if kinds:
        return "GGUF of type " + ", ".join(f"`{kind}`" for kind in kinds)
    if any(name.endswith(".safetensors") for name in names):
        return "safetensors"
    pickles = any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names)
    return "only pickles, which are never loaded" if pickles else "no weights"


def _order(kind: str) -> tuple[bool, str]:
    return (kind not in GGUF_SIZES, kind)


def _is_weights(path: str) -> bool:
    return "/" not in path and path.endswith(".safetensors")


def _belongs(path: str) -> bool:
    beside = "/" not in path and any(fnmatch.fnmatchcase(path, each) for each in BESIDE_WEIGHTS)
    return _is_weights(path) or beside


def _refuse_escape(repo: str, path: str) -> None:
    parts = PurePosixPath(path).parts
    hostile = ".." in parts or path.startswith("/") or "\\" in path or not path.isprintable()
    if hostile or not parts or ":" in path:
        raise CheckpointError(f"`{repo}` lists a file `{path!r}`, which is no path inside it")


def _refuse_twins(repo: str, files: Sequence[RemoteFile]) -> None:
    names = [PurePosixPath(file.path).name for file in files]
    for name in names:
        if not is_file_name(name):
            raise CheckpointError(
                f"`{repo}` lists `{name}`, which cannot be a file's name everywhere"
            )
    if len({name.casefold() for name in names}) != len(names):
        raise CheckpointError(f"`{repo}` lists two files that would have the same name")

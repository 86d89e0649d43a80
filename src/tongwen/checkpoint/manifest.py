"""What the store knows of one model, on the disk and in memory."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from tongwen.checkpoint.model_names import folder_model
from tongwen.errors import CheckpointError

MANIFEST = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """One file of a model and the blob that holds its bytes."""

    name: str
    """Its name in the model's folder; never a path."""

    size_bytes: int
    sha256: str
    """Lower-case hex; the blob is `blobs/sha256-<this>`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Where a model of the store came from, and what it consists of."""

    name: str
    files: tuple[StoredFile, ...]
    source: str
    """`hub`, `modelscope` or `index`."""

    repo: str
    revision: str
    licence: str
    lineage: tuple[str, ...]
    """What it was made from, nearest first."""

    pulled_at: str
    """UTC, ISO 8601."""

    @property
    def digest(self) -> str:
        """Identity of the contents: the file's own SHA-256, or that of the list of all files."""
        if len(self.files) == 1:
            return self.files[0].sha256
        lines = sorted(f"{file.sha256}  {file.name}\n" for file in self.files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalModel:
    """A model whose files are all on this machine."""

    name: str
    path: Path
    """A directory with safetensors and config, or a GGUF file (the first, where it is split)."""

    files: tuple[Path, ...]
    size_bytes: int
    licence: str
    """`unstated` where neither the source nor the table says."""

    source: str
    """`hub`, `modelscope`, `index`; a cache: `Hugging Face cache`, `Ollama`...; or `disk`."""

    lineage: tuple[str, ...] = ()
    digest: str | None = None
    """SHA-256 (see `Manifest.digest`); None for files that the store does not keep."""

    repo: str | None = None
    revision: str | None = None
    pulled_at: datetime | None = None
    last_used: datetime | None = None


def now() -> str:
    """The present in UTC, as manifests write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_manifest(path: Path) -> Manifest:
    """Read and check the manifest at `path`.

    Raises:
        CheckpointError: It is missing, not JSON, of another format, or holds a value of the wrong
            type, a name that is a path, or a digest that is none.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return _manifest(tree)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"the manifest `{path}` is damaged: {type(error).__name__}: {error}",
            hint=f"`tongwen rm {folder_model(path.parent.name)}`, then pull it again",
        ) from error


def _manifest(value: object) -> Manifest:
    tree = _object(value)
    if tree["format"] != _FORMAT:
        raise ValueError(f"not of format {_FORMAT}")
    texts = {
        key: _text(tree[key])
        for key in ("name", "source", "repo", "revision", "licence", "pulled_at")
    }
    datetime.fromisoformat(texts["pulled_at"])
    files = tuple(_stored_file(entry) for entry in tree["files"])
    if not files:
        raise ValueError("no files")
    return Manifest(files=files, lineage=tuple(_text(each) for each in tree["lineage"]), **texts)


def _stored_file(value: object) -> StoredFile:
    entry = _object(value)
    name, size_bytes, sha256 = _text(entry["name"]), entry["size_bytes"], _text(entry["sha256"])
    if not is_file_name(name):
        raise ValueError(f"`{name}` is not a file name")
    if (
        not isinstance(size_bytes, int)
        or size_bytes < 0
        or not re.fullmatch("[0-9a-f]{64}", sha256)
    ):
        raise ValueError(f"`{name}` has size `{size_bytes}` and digest `{sha256}`")
    return StoredFile(name=name, size_bytes=size_bytes, sha256=sha256)


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"`{value}` is not an object")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{value}` is not text")
    return value


def is_file_name(name: str) -> bool:
    """Whether `name` is the name of one file on every system: no path, drive, device or control."""
    return (
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+ ()-]{0,254}", name) is not None
        and not name.endswith((".", " "))
        and not re.match(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", name, re.IGNORECASE)
        and PurePosixPath(name).name == name
    )

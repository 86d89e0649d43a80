"""From what a user types to what it means: a name of the table, a hub id, a directory, a GGUF.

    qwen2:0.5b   qwen2   QWEN2:7B-q8_0     the table of `offers.py`
    Org/Repo   Org/Repo:Q4_K_M             a repository on the hub
    hf.co/Org/Repo:Q4_K_M                  the same, as Ollama writes it
    ./checkpoint   model.gguf              files on the disk

A name becomes a folder of the store by a map that has an inverse and whose results hold no
separator, drive, device or parent: no name reaches outside the store.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tongwen.checkpoint.offers import DEFAULT_TAGS, Offer, offers
from tongwen.errors import ModelNotFoundError

_HUB_PREFIX = re.compile(r"(?:https?://)?(?:hf\.co|huggingface\.co)/", re.IGNORECASE)
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"({_WORD}/{_WORD})(?::([A-Za-z0-9_]{{1,32}}))?")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,199}")
# What Windows keeps for devices, whatever the case and ending.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:[.@]|$)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelName:
    """One way to name a model, resolved as far as the name alone allows."""

    kind: Literal["table", "hub", "directory", "gguf"]

    text: str
    """The canonical name: `qwen2:7b` for `Qwen2`, `Org/Repo:q4_k_m` for `hf.co/Org/Repo:Q4_K_M`."""

    repo: str | None = None
    """Repository on the hub; None for files on the disk."""

    gguf_type: str | None = None
    """GGUF type to take from the repository, lower case; None: safetensors, or what there is."""

    path: Path | None = None
    """The directory or file, for what lies on the disk."""

    offer: Offer | None = None
    """Its line in the table, for a name of the table."""

    @property
    def folder(self) -> str:
        """Name of its folder in the store: `qwen2@0.5b`, `Org--Repo@q4_k_m`."""
        return model_folder(self.text)

    @property
    def licence(self) -> str | None:
        """What the table states; None outside it."""
        return self.offer.licence if self.offer else None

    def __str__(self) -> str:
        return self.text


def parse_name(text: str) -> ModelName:
    """What `text` names, looked up in the table first, then on the disk, then as a hub id.

    Raises:
        ModelNotFoundError: It is none of these, or names a file that does not exist; the message
            lists the nearest names.
    """
    typed = text.strip()
    if found := _table_name(typed):
        return found
    if prefix := _HUB_PREFIX.match(typed):
        return _hub_name(typed[prefix.end() :], typed)
    return _local_name(typed) or _hub_name(typed, typed)


def parse_stored(text: str) -> ModelName:
    """What `text` names where files are not meant: in the table, or as a hub id.

    Nothing is looked up on the disk, so that whoever asks learns nothing of it.

    Raises:
        ModelNotFoundError: It is neither; the message lists the nearest names.
    """
    typed = text.strip()
    prefix = _HUB_PREFIX.match(typed)
    return _table_name(typed) or _hub_name(typed[prefix.end() :] if prefix else typed, typed)


def nearest(text: str, num_names: int = 3) -> list[str]:
    """Names of the table that look most like `text`, best first; the defaults if none does."""
    table = offers()
    wanted = _canonical(text.strip().rpartition("/")[2])
    close = difflib.get_close_matches(wanted, table, n=num_names, cutoff=0.6)
    return close or [f"{family}:{tag}" for family, tag in DEFAULT_TAGS.items()][:num_names]


def model_folder(name: str) -> str:
    """Name of the store's folder for the model whose canonical name is `name`.

    Raises:
        ModelNotFoundError: `name` could reach outside the store, or no file system would take it.
    """
    folder = name.replace("/", "--").replace(":", "@")
    unfit = ".." in folder or folder.endswith(".") or _DEVICE.match(folder)
    if unfit or not _FOLDER.fullmatch(folder):
        raise ModelNotFoundError(f"`{_printable(name)}` cannot be the name of a model")
    return folder


def folder_model(folder: str) -> str:
    """The canonical name of the model in the store's folder `folder`."""
    return folder.replace("@", ":").replace("--", "/")


def _canonical(text: str) -> str:
    """Lower case, with a tag, without the words that a bare tag implies."""
    family, _, tag = text.lower().partition(":")
    if tag in ("", "latest"):
        tag = DEFAULT_TAGS.get(family, "")
    tag = tag.replace("-instruct", "").replace("-chat", "").removesuffix("-q4_k_m")
    return f"{family}:{tag}"


def _table_name(text: str) -> ModelName | None:
    offer = offers().get(_canonical(text))
    if offer is None:
        return None
    return ModelName(
        kind="table", text=offer.name, repo=offer.repo, gguf_type=offer.gguf_type, offer=offer
    )


def _local_name(text: str) -> ModelName | None:
    if not text or "\0" in text:
        return None
    path = Path(text).expanduser() if text.startswith("~") else Path(text)
    looks_local = text.startswith((".", "~")) or path.is_absolute() or "\\" in text
    if text.lower().endswith(".gguf"):
        if not path.is_file():
            raise ModelNotFoundError(f"there is no file `{_printable(text)}`")
        return ModelName(kind="gguf", text=str(path), path=path)
    if path.is_dir() and (looks_local or "/" in text or (path / "config.json").is_file()):
        return ModelName(kind="directory", text=str(path), path=path)
    if looks_local:
        raise ModelNotFoundError(f"there is no directory `{_printable(text)}`")
    return None


def _hub_name(text: str, typed: str) -> ModelName:
    match = _HUB_ID.fullmatch(text)
    if match is None or ".." in text or "--" in text:
        names = ", ".join(f"`{name}`" for name in nearest(typed))
        raise ModelNotFoundError(
            f"no model is named `{_printable(typed)}`; the nearest names are {names}",
            hint="`tongwen list --available` prints them all; `Org/Repo` names one on the hub",
        )
    repo, gguf_type = match[1], match[2].lower() if match[2] else None
    text = f"{repo}:{gguf_type}" if gguf_type else repo
    model_folder(text)
    return ModelName(kind="hub", text=text, repo=repo, gguf_type=gguf_type)


def _printable(text: str) -> str:
    """`text` on one line and not too long, for a message."""
    return "".join(c if c.isprintable() else "?" for c in text[:80])

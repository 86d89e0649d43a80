"""Models that are another model with words of its own: a system text, defaults, first messages.

    derived/<folder>.json      one record for each name

A record holds no weights: it names the model whose weights it uses.  One that is made from another
record names what that one names, so that each stands by itself.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tongwen.checkpoint.blobs import write_whole
from tongwen.checkpoint.json_files import one_line, read_json
from tongwen.checkpoint.model_names import model_folder
from tongwen.checkpoint.store import Store
from tongwen.errors import CheckpointError, ModelNotFoundError

log = logging.getLogger(__name__)

_FORMAT = 1

CREATED = "created"
"""Source of models whose files were handed in, and first part of their names.

They are known by the names derived from them.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Derived:
    """A model made from another by words alone."""

    name: str
    """What callers write."""

    base: str
    """A name of the store, or the path of a checkpoint: whose weights it uses."""

    licence: str
    """The base's, and what was added to it."""

    made_at: str
    """UTC, ISO 8601."""

    lineage: tuple[str, ...] = ()
    """What it was made from, nearest first."""

    system: str | None = None
    """The system text of conversations that have none."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Defaults under the names of Ollama's `options`."""

    messages: tuple[Mapping[str, Any], ...] = ()
    """What every conversation begins with."""


class DerivedModels:
    """The records below the directory of a store.

    Args:
        home: The store's directory.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / "derived"

    def list(self) -> "list[Derived]":
        """All of them, by name; a damaged one is logged and left out."""
        found = []
        for path in sorted(self._folder.glob("[!.]*.json")):
            try:
                found.append(_read(path))
            except CheckpointError as error:
                log.warning("%s", error)
        return found

    def has(self, name: str) -> bool:
        """Whether there is a record of that name."""
        try:
            return self._path(name).is_file()
        except ModelNotFoundError:  # no name at all
            return False

    def get(self, name: str) -> Derived:
        """The record of that name.

        Raises:
            CheckpointError: It is damaged.
            ModelNotFoundError: There is none.
        """
        if not self.has(name):
            raise ModelNotFoundError(f"no derived model is called `{name}`")
        return _read(self._path(name))

    def add(self, derived: Derived) -> None:
        """Keep a record, in place of what had its name.

        Raises:
            ModelNotFoundError: The name could reach outside the store.
            CapacityError: The disk is full.
        """
        path = self._path(derived.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        tree = {"format": _FORMAT, **asdict(derived)}
        write_whole(path, json.dumps(tree, indent=1, ensure_ascii=False) + "\n")

    def remove(self, name: str, store: Store) -> int:
        """Delete a record, and with the last that uses them the files that were made for it.

        Returns:
            How many bytes this frees.

        Raises:
            ModelNotFoundError: There is none of that name.
        """
        if not self.has(name):
            raise ModelNotFoundError(f"no derived model is called `{name}`")
        bases = {made.name: made.base for made in self.list()}
        self._path(name).unlink()
        base = bases.pop(name, "")  # of a damaged record nothing is known
        is_last = base.startswith(f"{CREATED}/") and base not in bases.values()
        return store.remove(base) if is_last else 0

    def users_of(self, base: str) -> Sequence[str]:
        """Names of those that use the weights of `base`."""
        return [each.name for each in self.list() if each.base == base]

    def _path(self, name: str) -> Path:
        return self._folder / f"{model_folder(name)}.json"


def _read(path: Path) -> Derived:
    tree = read_json(path)
    if tree.pop("format", None) != _FORMAT:
        raise CheckpointError(f"`{path}` is no record of format {_FORMAT}")
    sound = {name: is_sound(tree.get(name)) for name, is_sound in _SOUND.items()}
    if wrong := [name for name, is_so in sound.items() if not is_so] + sorted(
        set(tree) - set(sound)
    ):
        raise CheckpointError(f"the record `{path}` is damaged at `{one_line(wrong[0])}`")
    lists = {name: tuple(tree[name]) for name in ("lineage", "messages")}
    return Derived(**{**tree, **lists})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list_of(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(isinstance(each, kind) for each in value)


_SOUND: Mapping[str, Callable[[object], bool]] = {
    "name": _is_text,
    "base": _is_text,
    "licence": _is_text,
    "made_at": _is_text,
    "lineage": _is_list_of(str),
    "system": lambda value: value is None or isinstance(value, str),
    "parameters": lambda value: isinstance(value, dict),
    "messages": _is_list_of(dict),
}
"""What each value of a record must be."""

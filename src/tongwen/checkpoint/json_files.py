"""The JSON files of a checkpoint: untrusted, small, and each holding one object."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from tongwen.errors import CheckpointError, ConfigError

_MAX_JSON_BYTES = 64 << 20


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: There is no such file, or it holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"`{path.parent}` has no `{path.name}`")
    if (size := path.stat().st_size) > _MAX_JSON_BYTES:
        raise CheckpointError(
            f"`{path}` should be a small JSON file, and has {size} bytes; {_MAX_JSON_BYTES} at most"
        )
    return parse_json(path.read_bytes(), str(path))


def parse_json(text: bytes, where: str) -> dict[str, Any]:
    """The object that `text` spells; `where` is named in the error.

    Raises:
        CheckpointError: It spells something else.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"`{where}` should hold JSON: {one_line(str(error)):.120}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"`{where}` should hold a JSON object, holds {value!r:.40}")
    return value


def one_line(text: str) -> str:
    """A text with parts from an untrusted file, fit for one line of a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number that a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return -sys.float_info.max <= value <= sys.float_info.max


class Keys:
    """The values of one object, each of the type that is asked for.

    Args:
        published: The object.
        defaults: What stands for a key that it leaves out.

    Every method but `get` and `wrong` raises `ConfigError` for a value of another type.
    """

    def __init__(self, published: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self.published, self.defaults = published, defaults

    def get(self, key: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """The value as it is."""
        return self.published.get(key, self.defaults.get(key))

    def integer(self, key: str) -> int:
        """An integer."""
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(key, "an integer")
        return value

    def optional_integer(self, key: str) -> int | None:
        """An integer, or `None` for null."""
        return None if self.get(key) is None else self.integer(key)

    def number(self, key: str) -> float:
        """A number."""
        value = self.get(key)
        if not is_number(value):
            raise self.wrong(key, "a number")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.get(key)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def table(self, key: str) -> dict[str, Any]:
        """An object; empty where it is null or missing."""
        value = self.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "an object or null")
        return value or {}

    def wrong(self, key: str, kind: str) -> ConfigError:
        """What to raise for a value of the wrong kind."""
        return ConfigError(f"`{key}` should be {kind}, is {self.get(key)!r:.60}")

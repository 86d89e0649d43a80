"""Notes on the disk, of which a damaged one keeps nobody from the others."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from tongwen.checkpoint.json_files import one_line

Note = TypeVar("Note")

log = logging.getLogger(__name__)


class Notes(Generic[Note]):
    """The notes of one kind in a directory: `<id>.json`.

    Args:
        directory: Where they lie, together with what they are about.
        prefix: What ids of this kind begin with.
        parse: Reads one, given its path; a `ValueError` says what is wrong with it.
    """

    def __init__(self, directory: Path, prefix: str, parse: Callable[[Path], Note]) -> None:
        self._directory, self._prefix, self._parse = directory, prefix, parse
        self._damaged: set[Path] = set()

    def path(self, note_id: str) -> Path:
        """Where the note of an id lies."""
        return self._directory / f"{note_id}.json"

    def all(self) -> list[Note]:
        """Those that can be read, in no order."""
        found = map(self._read, self._directory.glob(f"{self._prefix}*.json"))
        return [note for note in found if note is not None]

    def find(self, note_id: str) -> Note | None:
        """One of them; `None`: there is none, or it is damaged."""
        return self._read(self.path(note_id))

    def _read(self, path: Path) -> Note | None:
        try:
            return self._parse(path)
        except FileNotFoundError:  # deleted meanwhile
            return None
        except (ValueError, OSError) as error:
            self._tell(path, error)
            return None

    def _tell(self, path: Path, error: Exception) -> None:
        """Say once that a note is damaged."""
        if path not in self._damaged:
            self._damaged.add(path)
            why = one_line(" ".join(str(error).split()))
            log.warning("the note `%s` is damaged and left alone: %.200s", path, why)

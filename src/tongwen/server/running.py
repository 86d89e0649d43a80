"""Which servers run on this machine: a note for each below `servers/` of the store."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tongwen.checkpoint.blobs import write_whole


@dataclass(frozen=True, slots=True)
class Running:
    """A server of this user on this machine."""

    pid: int
    url: str
    """Its address, `http://127.0.0.1:8000`."""

    needs_key: bool = False

    started: float = 0.0
    """When the process began: another may get its number."""


def note_running(home: Path, running: Running) -> Path:
    """Leave a note that a server runs; whoever ends it deletes the note."""
    running = replace(running, started=_started(running.pid))
    path = home / "servers" / f"{running.pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(running)))
    return path


def running_servers(home: Path) -> list[Running]:
    """The servers whose notes lie there and whose processes live; other notes are deleted."""
    return sorted(_alive(home), key=lambda running: running.url)


def _alive(home: Path) -> Iterator[Running]:
    for path in (home / "servers").glob("*.json"):
        try:
            running = Running(**json.loads(path.read_text()))
            if _started(running.pid) != running.started:
                raise ProcessLookupError
        except (OSError, ValueError, TypeError):
            path.unlink(missing_ok=True)
        else:
            yield running


def _started(pid: int) -> float:
    """When a process began, in seconds since 1970.

    Raises:
        ProcessLookupError: There is none.
    """
    import psutil  # 30 ms of the start of `tongwen run`, where no server has left a note

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error as error:
        raise ProcessLookupError(str(error)) from error

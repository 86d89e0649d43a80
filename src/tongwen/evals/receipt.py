"""Receipts: everything that a figure depends on, and everything needed to get it again."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from tongwen.errors import RequestError
from tongwen.evals.figure import Figure
from tongwen.evals.record import said_in
from tongwen.evals.subject import Subject
from tongwen.version import __version__

FORMAT = "tongwen-receipt-1"

_LIBRARIES = ("torch", "tokenizers", "math-verify", "sympy", "sacrebleu", "langdetect")
_STRANGE = (LookupError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a run was asked for; a run of the same settings gives the same figure."""

    task: str
    preset: str
    shots: int
    limit: int | None
    """Samples drawn by the seed, of stored completions by their file; `None`: all of them."""

    seed: int
    n: int
    temperature: float
    judge: str | None = None
    """Who gave the verdicts."""

    judged_by: Subject | None = None
    """What identifies the judge, as far as it tells."""

    sandbox: str | None = None
    """What kept programs apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """A figure and where it comes from."""

    settings: Settings
    subject: Subject
    figure: Figure
    num_samples: int
    num_failed: int
    data: Mapping[str, str]
    """SHA-256 of each file of the benchmark that was read."""

    code: str
    """SHA-256 of the files that ask and judge."""

    samples_file: str
    """Name of the file beside this one that holds every sample."""

    samples_sha256: str
    machine: Mapping[str, str]
    seconds: float
    format: str = FORMAT
    version: str = field(default=__version__)

    def to_json(self) -> dict[str, Any]:
        """As its file holds it, sealed by a digest over all the rest."""
        said = asdict(self)
        return {**said, "digest": _seal(said)}

    def write(self, path: Path) -> None:
        """Write its file, whole or not at all."""
        partial = path.with_name(path.name + ".new")
        text = json.dumps(self.to_json(), ensure_ascii=False, indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)


def read_receipt(path: Path) -> Receipt:
    """A receipt from its file.

    Raises:
        RequestError: It is not there, is none, or was changed after it was written.
    """
    try:
        said = said_in(path.read_text(encoding="utf-8"))
        seal = said.pop("digest")
        if said["format"] != FORMAT:
            raise ValueError(f"its format is `{said['format']}`")
        is_whole = seal == _seal(said)
        receipt = _receipt(said)
    except OSError as error:
        raise RequestError(f"`{path}` cannot be read: {error.strerror}") from error
    except _STRANGE as error:
        raise RequestError(f"`{path}` is no receipt: {error}") from error
    if not is_whole:
        raise RequestError(f"`{path}` was changed after it was written: its digest does not fit")
    return receipt


def file_digest(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        RequestError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RequestError(f"`{path}` cannot be read: {error.strerror}") from error


def code_digest() -> str:
    """SHA-256 over the files that ask, parse and judge."""
    whole = hashlib.sha256()
    for room in ("evals", "judge"):
        found = Path(str(files("tongwen") / room))
        for path in sorted(found.rglob("*.py")):
            whole.update(path.relative_to(found.parent).as_posix().encode())
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def this_machine() -> dict[str, str]:
    """What else may move a figure: the machine, Python, and the libraries that judge."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _seal(said: Mapping[str, Any]) -> str:
    text = json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _receipt(said: dict[str, Any]) -> Receipt:
    named = {each.name for each in fields(Receipt)}
    if said.keys() != named:
        raise ValueError(f"it has other fields: {', '.join(sorted(said.keys() ^ named))}")
    _check(said)
    parts = {
        "settings": _settings(said["settings"]),
        "subject": Subject(**said["subject"]),
        "figure": Figure(**said["figure"]),
    }
    return Receipt(**{**said, **parts})


def _settings(said: Mapping[str, Any]) -> Settings:
    judge = said.get("judged_by")
    return Settings(**{**said, "judged_by": None if judge is None else Subject(**judge)})


def _check(said: Mapping[str, Any]) -> None:
    """That numbers are numbers and texts are texts; a seal says nothing of that."""
    figure, settings = said["figure"], said["settings"]
    numbers = {
        **{name: said[name] for name in ("num_samples", "num_failed", "seconds")},
        **{name: settings[name] for name in ("shots", "seed", "n", "temperature")},
        "score": figure["score"],
        "stderr": figure["stderr"] or 0.0,
        **figure["metrics"],
        **figure["groups"],
    }
    texts = {
        **{name: said[name] for name in ("code", "samples_file", "samples_sha256", "version")},
        "task": settings["task"],
        "preset": settings["preset"],
        "name": said["subject"]["name"],
        **said["data"],
        **said["machine"],
    }
    for wanted, kind in ((numbers, int | float), (texts, str)):
        for name, value in wanted.items():
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ValueError(f"`{name}` is `{value}`")

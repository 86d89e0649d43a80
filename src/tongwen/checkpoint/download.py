"""Fetch one file over HTTP: resumed where it stopped, verified as it arrives."""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import httpx2

from tongwen.checkpoint.blobs import etag_path, full_disk_is_said
from tongwen.errors import SourceError

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Told `(done_bytes, total_bytes)` of a whole pull."""

_CHUNK = 1 << 20
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a source may be silent, and how often it is asked again."""

    connect_s: float = 5.0
    """To a connection."""

    silence_s: float = 5.0
    """Between two pieces of what it sends, and to its list of files."""

    attempts: int = 5
    """Failures in a row, none of which brought a byte, before a file is given up."""

    backoff_s: float = 0.5
    """Pause after the first failure; doubled for each that follows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file of a repository, as its source lists it."""

    path: str
    """Its place in the repository."""

    url: str
    size_bytes: int
    sha256: str | None = None
    """None where the source knows only git's own digest."""

    git_oid: str | None = None
    """Git's blob id: SHA-1 of the header `blob <size>` and the contents."""


@dataclass(kw_only=True, slots=True)
class Downloader:
    """Fetches files from one source."""

    source: str
    """Its name, for messages."""

    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to the source itself, never to another host that it redirects to."""

    patience: Patience = field(default_factory=Patience)
    has_answered: bool = False
    """Whether a byte has come; a source from which none ever came is given up at once."""

    def fetch(self, remote: RemoteFile, to: Path, on_bytes: Callable[[int], None]) -> str:
        """Bring `remote` to `to`, going on from the bytes that are there if its digest is known.

        Args:
            remote: What to fetch.
            to: The partial file; whole and verified on return.
            on_bytes: Told how many bytes `to` has, as they arrive.

        Returns:
            The SHA-256 of the file, in hex.

        Raises:
            SourceError: The source is silent, refuses, or sends other bytes than it lists; what
                does not match its digest is deleted.
            CapacityError: The disk is full.
        """
        with full_disk_is_said(to, remote.size_bytes), _Partial(remote, to) as partial:
            on_bytes(partial.size_bytes)
            if partial.size_bytes < remote.size_bytes or not partial.is_resumed:
                with self._client() as client:
                    self._receive_all(client, partial, on_bytes)
            return partial.verified(self.source)

    def _client(self) -> httpx2.Client:
        timeout = httpx2.Timeout(self.patience.silence_s, connect=self.patience.connect_s)
        return httpx2.Client(headers=dict(self.headers), timeout=timeout, follow_redirects=True)

    def _receive_all(
        self, client: httpx2.Client, partial: "_Partial", on_bytes: Callable[[int], None]
    ) -> None:
        failures = 0
        while True:
            before = partial.size_bytes
            try:
                self._receive(client, partial, on_bytes)
                return
            except (httpx2.TransportError, _TryAgainError) as error:
                failures = 0 if partial.size_bytes > before else failures + 1
                self._give_up_on(partial, error, failures)
                log.info("`%s` from %s: %s; trying again", partial.remote.path, self.source, error)
            time.sleep(self.patience.backoff_s * 2 ** max(failures - 1, 0))

    def _give_up_on(self, partial: "_Partial", error: Exception, failures: int) -> None:
        is_silent = isinstance(error, httpx2.TimeoutException) and not self.has_answered
        if is_silent or failures >= self.patience.attempts:
            raise SourceError(
                f"{self.source} did not deliver `{partial.remote.path}` beyond byte"
                f" {partial.size_bytes} of {partial.remote.size_bytes}: {said_by(error)}",
                hint="what has arrived is kept; the next pull goes on from there",
            ) from error

    def _receive(
        self, client: httpx2.Client, partial: "_Partial", on_bytes: Callable[[int], None]
    ) -> None:
        """One request, from where `partial` stands to the end of the file."""
        with client.stream("GET", partial.remote.url, headers=partial.request_headers()) as answer:
            if answer.status_code == 416:  # the file there is shorter than what has arrived
                partial.start_over()
            self._check(answer, partial.remote)
            partial.accept(answer)
            for chunk in answer.iter_raw():
                self.has_answered = True
                partial.append(chunk, self.source)
                on_bytes(partial.size_bytes)
        if partial.size_bytes < partial.remote.size_bytes:
            raise _TryAgainError("the answer ended early")

    def _check(self, answer: httpx2.Response, remote: RemoteFile) -> None:
        status = answer.status_code
        if status in (200, 206):
            return
        if status in _TRY_AGAIN or status == 416:
            raise _TryAgainError(f"HTTP {status}")
        if status in (401, 403):
            raise SourceError(
                f"{self.source} refuses `{remote.path}` (HTTP {status}): the repository is gated"
                " or private",
                hint="accept its licence on its page there, then set a token"
                " (HF_TOKEN, MODELSCOPE_API_TOKEN)",
            )
        raise SourceError(f"{self.source} answers HTTP {status} for `{remote.path}`")


class _TryAgainError(Exception):
    """A failure that a later request may not meet."""


class _Partial:
    """A file that arrives, with the digest of what has arrived."""

    def __init__(self, remote: RemoteFile, path: Path) -> None:
        self.remote, self.path = remote, path
        self.etag: str | None = None
        self.is_resumed = False

    def __enter__(self) -> "_Partial":
        # Without a digest to hold the whole to, bytes of an earlier process are not trusted.
        known = self.remote.sha256 is not None and self.path.exists()
        self.is_resumed = known and self.path.stat().st_size <= self.remote.size_bytes
        self._file: BinaryIO = self.path.open("r+b" if self.is_resumed else "w+b")
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        while chunk := self._file.read(_CHUNK):
            self._hash.update(chunk)
            self.size_bytes += len(chunk)
        if self.is_resumed and etag_path(self.path).exists():
            self.etag = etag_path(self.path).read_text()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def request_headers(self) -> dict[str, str]:
        """Ask for the rest, if the file there is still the one that was begun."""
        headers = {"Accept-Encoding": "identity"}
        if self.size_bytes and (self.etag or self.remote.sha256):
            headers["Range"] = f"bytes={self.size_bytes}-"
            if self.etag:
                headers["If-Range"] = self.etag
        return headers

    def accept(self, answer: httpx2.Response) -> None:
        """Prepare for the body of `answer`: go on, or start over where it is the whole file."""
        start = f"bytes {self.size_bytes}-"
        continues = answer.headers.get("Content-Range", "").startswith(start)
        if not (answer.status_code == 206 and continues):
            if answer.status_code == 206:
                raise _TryAgainError(f"asked for {start} and got another range")
            self.start_over()
        etag = answer.headers.get("ETag", "")
        self.etag = etag if etag.startswith('"') else None  # a weak one promises no equal bytes
        if self.etag and self.remote.sha256:
            etag_path(self.path).write_text(self.etag)

    def start_over(self) -> None:
        """Forget what has arrived."""
        self._file.seek(0)
        self._file.truncate()
        self._hash, self.size_bytes = hashlib.sha256(), 0

    def append(self, chunk: bytes, source: str) -> None:
        """Write one piece."""
        if self.size_bytes + len(chunk) > self.remote.size_bytes:
            self._discard()
            raise SourceError(
                f"{source} sends more for `{self.remote.path}` than the"
                f" {self.remote.size_bytes} bytes it lists"
            )
        self._file.write(chunk)
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def verified(self, source: str) -> str:
        """The SHA-256 of the whole, once it is what the source promised and on the disk."""
        found = self._hash.hexdigest()
        expected = self.remote.sha256 or found
        if self.remote.git_oid and not self.remote.sha256:
            found_oid = self._git_oid()
            if found_oid != self.remote.git_oid:
                raise self._mismatch(source, "git blob id", self.remote.git_oid, found_oid)
        if found != expected:
            raise self._mismatch(source, "sha256", expected, found)
        self._file.flush()
        os.fsync(self._file.fileno())
        etag_path(self.path).unlink(missing_ok=True)
        return found

    def _git_oid(self) -> str:
        self._file.seek(0)
        header = b"blob %d\0" % self.size_bytes
        return hashlib.sha1(header + self._file.read(), usedforsecurity=False).hexdigest()

    def _mismatch(self, source: str, kind: str, expected: str, found: str) -> SourceError:
        self._discard()
        return SourceError(
            f"`{self.remote.path}` from {source} has {kind} `{found}`, expected `{expected}`;"
            " it was deleted",
            hint="pull again; if it happens again the file at the source is not the one it lists",
        )

    def _discard(self) -> None:
        self._file.close()
        for path in (self.path, etag_path(self.path)):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def said_by(error: BaseException) -> str:
    """What went wrong, in one line, for exceptions whose own text may be empty."""
    name = type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        return f"silent ({name})"
    text = " ".join(str(error).split())
    return text[:300] or name

"""`HEAD` and `POST /api/blobs/sha256:...`: files of models, uploaded for `/api/create`.

A file arrives below `partial/` of the store and becomes a blob when its digest is verified.  A plan
beside it, see `checkpoint/blobs.py`, keeps it until a model is made of it.
"""

import asyncio
import hashlib
import re
import tempfile
from pathlib import Path

from fastapi import APIRouter, Request, Response

from tongwen.checkpoint.blobs import MARGIN_BYTES, Blobs, full_disk_is_said
from tongwen.errors import CapacityError
from tongwen.server.errors import invalid
from tongwen.server.service import service_of

router = APIRouter(tags=["Ollama"])

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_BUFFER = 4 << 20


def digest_of(text: str) -> str:
    """The hexadecimal part of a digest.

    Raises:
        ApiError: It is no SHA-256.
    """
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise invalid("digest", "a digest is `sha256:` and 64 hexadecimal digits in lower case")
    return match[1]


def upload_folder(sha256: str) -> str:
    """The folder below `partial/` that holds a blob for whoever uploaded it."""
    return f"upload-{sha256}"


@router.head("/api/blobs/{digest}")
async def has_blob(request: Request, digest: str) -> Response:
    """Whether a file is here."""
    path = Blobs(service_of(request).store.home).path(digest_of(digest))
    return Response(status_code=200 if path.is_file() else 404)


@router.post("/api/blobs/{digest}")
async def take_blob(request: Request, digest: str) -> Response:
    """Take a file; 201 where it was not here."""
    sha256 = digest_of(digest)
    blobs = Blobs(service_of(request).store.home)
    if blobs.path(sha256).is_file():
        return Response(status_code=200)
    _check_room(blobs, request.headers.get("content-length", ""))
    await asyncio.to_thread(blobs.plan, upload_folder(sha256), [sha256])
    arriving = await asyncio.to_thread(_new_file, blobs, sha256)
    try:
        found = await _receive(request, arriving)
        if found != sha256:
            raise invalid("digest", f"the file has the digest `sha256:{found}`")
        await asyncio.to_thread(blobs.adopt, arriving, sha256)
    except BaseException:
        arriving.unlink(missing_ok=True)
        _give_up(blobs, sha256)
        raise
    return Response(status_code=201)


def _check_room(blobs: Blobs, stated: str) -> None:
    wanted = int(stated) if stated.isascii() and stated.isdigit() else 0
    free = blobs.free_bytes()
    if wanted + MARGIN_BYTES > free:
        raise CapacityError(
            f"a file of {wanted} bytes does not fit: {free} bytes are free in the store"
        )


def _new_file(blobs: Blobs, sha256: str) -> Path:
    handle, name = tempfile.mkstemp(dir=blobs.scratch(upload_folder(sha256)))
    with open(handle, "wb"):
        return Path(name)


def _give_up(blobs: Blobs, sha256: str) -> None:
    """Forget an upload, unless another of the same file goes on or is done."""
    scratch = blobs.scratch(upload_folder(sha256))
    if not blobs.path(sha256).is_file() and not list(scratch.glob("tmp*")):
        blobs.forget(upload_folder(sha256), partials=False)


async def _receive(request: Request, arriving: Path) -> str:
    """Write the body to a file; its digest."""
    digest, buffer = hashlib.sha256(), bytearray()
    with full_disk_is_said(arriving), arriving.open("wb") as file:

        def flush() -> None:
            digest.update(buffer)
            file.write(buffer)
            buffer.clear()

        async for part in request.stream():
            buffer += part
            if len(buffer) >= _BUFFER:
                await asyncio.to_thread(flush)
        await asyncio.to_thread(flush)
    return digest.hexdigest()

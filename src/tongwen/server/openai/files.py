"""`/v1/files`: what a key keeps here, and no other key sees."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.datastructures import FormData, UploadFile

from tongwen.server.errors import ApiError, invalid, unsupported
from tongwen.server.files import Files
from tongwen.server.paging import page_of
from tongwen.server.service import caller_of

router = APIRouter(tags=["OpenAI"])

_MOST = 10_000
_FORM = frozenset({"file", "purpose"})
_UNSERVED = ("expires_after", "expires_after[anchor]", "expires_after[seconds]")


def files_of(request: Request) -> Files:
    """The files of the server that a request is for."""
    files: Files = request.app.state.files
    return files


@router.post("/v1/files")
async def upload_file(request: Request) -> dict[str, Any]:
    """Keep a file; a form of `file` and `purpose`."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        raise invalid(None, "a form is needed (`multipart/form-data`), of `file` and `purpose`")
    async with request.form(max_files=1, max_fields=8) as form:
        purpose, file = _purpose(form), form.get("file")
        if not isinstance(file, UploadFile):
            raise ApiError(400, "`file` is missing", "missing_parameter", "file")
        name, owner = file.filename or "upload", caller_of(request).name
        add = files_of(request).add
        kept = await asyncio.to_thread(add, owner, name[:255], purpose, file.file)
    return kept.as_object()


def _purpose(form: FormData) -> str:
    for name in form:
        if name in _UNSERVED:
            raise unsupported(name, "files stay until they are deleted")
        if name not in _FORM:
            raise ApiError(400, f"unknown parameter `{name[:64]}`", "unknown_parameter", name[:64])
    purpose = form.get("purpose")
    if purpose is None:
        raise ApiError(400, "`purpose` is missing", "missing_parameter", "purpose")
    if purpose != "batch":
        raise invalid("purpose", "`purpose` must be `batch`; files serve nothing else here")
    return purpose


@router.get("/v1/files")
async def list_files(request: Request) -> dict[str, Any]:
    """The caller's files, the newest first."""
    found = await asyncio.to_thread(files_of(request).list, caller_of(request).name)
    query = request.query_params
    if query.get("order", "desc") not in ("asc", "desc"):
        raise invalid("order", "`order` is `asc` or `desc`")
    if query.get("order") == "asc":
        found.reverse()
    wanted = [kept for kept in found if query.get("purpose", kept.purpose) == kept.purpose]
    by_id = {kept.id: kept for kept in wanted}
    shown, has_more = page_of(list(by_id), query, default=_MOST, most=_MOST)
    return listed([by_id[file_id].as_object() for file_id in shown], has_more)


@router.get("/v1/files/{file_id}")
async def retrieve_file(request: Request, file_id: str) -> dict[str, Any]:
    """One of them."""
    return files_of(request).find(caller_of(request).name, file_id).as_object()


@router.get("/v1/files/{file_id}/content")
async def read_file(request: Request, file_id: str) -> FileResponse:
    """What it holds."""
    files = files_of(request)
    kept = files.find(caller_of(request).name, file_id)
    return FileResponse(files.path(kept), media_type="application/octet-stream")


@router.delete("/v1/files/{file_id}")
async def delete_file(request: Request, file_id: str) -> dict[str, Any]:
    """Delete it."""
    await asyncio.to_thread(files_of(request).delete, caller_of(request).name, file_id)
    return {"id": file_id, "object": "file", "deleted": True}


def listed(data: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """A page of a list, as OpenAI writes it."""
    return {
        "object": "list",
        "data": data,
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }

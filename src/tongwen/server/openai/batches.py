"""`/v1/batches`: the rows of a file, answered in the background."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from fastapi import APIRouter, Request

from tongwen.server.batch.runner import Batches
from tongwen.server.errors import ApiError
from tongwen.server.openai.files import files_of, listed
from tongwen.server.paging import page_of
from tongwen.server.service import caller_of
from tongwen.server.wire import JsonRoute, Wire

router = APIRouter(route_class=JsonRoute, tags=["OpenAI"])

_FEW, _MANY = 20, 100


class BatchRequest(Wire):
    """A file whose rows are to be answered."""

    input_file_id: str
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = None

    unserved: ClassVar[Mapping[str, str]] = {
        "output_expires_after": "files stay until they are deleted"
    }


def batches_of(request: Request) -> Batches:
    """The batches of the server that a request is for."""
    batches: Batches = request.app.state.batches
    return batches


@router.post("/v1/batches")
async def create_batch(request: Request, body: BatchRequest) -> dict[str, Any]:
    """Begin to answer the rows of a file."""
    batches, files, owner = batches_of(request), files_of(request), caller_of(request).name
    kept = files.find(owner, body.input_file_id)
    given = body.model_dump()
    job = await asyncio.to_thread(batches.jobs.add, owner, given, files.path(kept))
    shown = {**job.batch}
    batches.start(job)
    return shown


@router.get("/v1/batches")
async def list_batches(request: Request) -> dict[str, Any]:
    """The caller's batches, the newest first."""
    jobs, owner = batches_of(request).jobs, caller_of(request).name
    found = await asyncio.to_thread(jobs.all)
    mine = {job.id: job for job in found if job.owner == owner}
    shown, has_more = page_of(list(mine), request.query_params, default=_FEW, most=_MANY)
    return listed([jobs.shown(mine[batch_id]) for batch_id in shown], has_more)


@router.get("/v1/batches/{batch_id}")
async def retrieve_batch(request: Request, batch_id: str) -> dict[str, Any]:
    """How far one of them has come."""
    jobs = batches_of(request).jobs
    return jobs.shown(jobs.find(caller_of(request).name, batch_id))


@router.post("/v1/batches/{batch_id}/cancel")
async def cancel_batch(request: Request, batch_id: str) -> dict[str, Any]:
    """Ask no more of its rows; those that are being answered are."""
    jobs = batches_of(request).jobs
    job = jobs.find(caller_of(request).name, batch_id)
    if job.has_ended:
        status = job.batch["status"]
        raise ApiError(409, f"batch `{batch_id}` has ended: it is {status}", "invalid_state")
    jobs.cancel(job)
    return jobs.shown(job)

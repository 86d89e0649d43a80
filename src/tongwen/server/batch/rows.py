"""Rows of an OpenAI batch file: read, answered, written.

{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
{"id": "batch_req_...", "custom_id": "a", "response": {"status_code": 200, ...}, "error": null}
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydantic_core
from pydantic import ValidationError

from tongwen.server.errors import api_error, invalid
from tongwen.server.openai.chat import ChatRequest, complete_chat
from tongwen.server.openai.completions import CompletionRequest, complete_texts
from tongwen.server.openai.embeddings import EmbeddingRequest, embed_texts
from tongwen.server.openai.errors import openai_error
from tongwen.server.openai.responses import ResponsesRequest, complete_response
from tongwen.server.service import Manner, Service, together
from tongwen.server.wire import Wire, refusal

_KEYS = frozenset({"custom_id", "method", "url", "body"})
_MOST_WAIT_S = 30.0
_WAIT_CODES = ("rate_limit_exceeded", "overloaded")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers the rows of a path."""

    request: type[Wire]
    complete: Callable[[Service, Manner, Any], Awaitable[dict[str, Any]]]


ENDPOINTS: Mapping[str, Endpoint] = {
    "/v1/chat/completions": Endpoint(ChatRequest, complete_chat),
    "/v1/completions": Endpoint(CompletionRequest, complete_texts),
    "/v1/embeddings": Endpoint(EmbeddingRequest, embed_texts),
    "/v1/responses": Endpoint(ResponsesRequest, complete_response),
}
"""The paths that rows may name."""


@dataclass(frozen=True, slots=True)
class Row:
    """A request of a file."""

    line: int
    """Counted from 1."""

    custom_id: str
    url: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is no request."""

    line: int
    message: str
    param: str | None = None
    code: str = "invalid_row"
    custom_id: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file holds, before any row is answered."""

    total: int
    """Lines that are not blank."""

    faults: list[Fault]
    repeated: list[Fault]
    """Rows whose `custom_id` an earlier one has."""

    ids: frozenset[str | int]
    """`row_id` of each."""


def row_id(row: Row | Fault) -> str | int:
    """What a row is known by in the output: its `custom_id`, where it has none its line."""
    return row.line if row.custom_id is None else row.custom_id


def read_rows(path: Path) -> Iterator[Row | Fault]:
    """The lines of a file, but for blank ones."""
    with path.open("rb") as file:
        for line, data in enumerate(file, 1):
            if data.strip():
                yield read_row(line, data)


def read_row(line: int, data: bytes) -> Row | Fault:
    """One line."""
    try:
        row = pydantic_core.from_json(data, allow_inf_nan=False)
    except ValueError as error:
        return Fault(line, f"no JSON: {error}", code="invalid_json_line")
    if not isinstance(row, dict):
        return Fault(line, "no JSON object", code="invalid_json_line")
    custom_id = row.get("custom_id")
    name = custom_id if isinstance(custom_id, str) and custom_id else None
    for is_good, message, param, code in _checks(row, name):
        if not is_good:
            return Fault(line, message, param, code, name)
    return Row(line, name or "", row["url"], row["body"])


def _checks(row: dict[str, Any], name: str | None) -> Iterator[tuple[bool, str, str, str]]:
    """What a row must be: whether it is, what is said else, of which key, and the code."""
    yield name is not None, "`custom_id` is no text", "custom_id", "invalid_row"
    for key in sorted(_KEYS):
        yield key in row, f"`{key}` is missing", key, "invalid_row"
    for key in sorted(row.keys() - _KEYS):
        yield False, f"`{key}` is unknown", key, "invalid_row"
    method, url = row["method"], row["url"]
    yield method == "POST", f"`method` is `{method}`, not `POST`", "method", "invalid_method"
    known = ", ".join(f"`{each}`" for each in ENDPOINTS)
    is_known = isinstance(url, str) and url in ENDPOINTS
    yield is_known, f"`url` is `{url}`, none of {known}", "url", "invalid_url"
    yield isinstance(row["body"], dict), "`body` is no object", "body", "invalid_row"


def survey(path: Path) -> Survey:
    """What a file holds."""
    lines: dict[str | int, int] = {}
    faults, repeated, total = list[Fault](), list[Fault](), 0
    for row in read_rows(path):
        total += 1
        if isinstance(row, Fault):
            faults.append(row)
        first = lines.setdefault(row_id(row), row.line)
        if first != row.line:
            said = f"`custom_id` `{row.custom_id}` stands in line {first} as well"
            repeated.append(Fault(row.line, said, "custom_id", "duplicate_custom_id"))
    return Survey(total, faults, repeated, frozenset(lines))


async def answer_row(
    service: Service, manner: Manner, row: Row, may_wait: Callable[[], bool] = lambda: True
) -> dict[str, Any]:
    """The line that answers a row; where it cannot be answered, the one that says why.

    A row that may not be asked at this moment, for its key or for the load, waits, as long as
    `may_wait` says so.
    """
    while True:
        status, body, wait_s = await _ask(service, manner, row)
        if wait_s is None or not may_wait():
            break
        await asyncio.sleep(wait_s)
    return answer_line(row, status, body)


async def _ask(
    service: Service, manner: Manner, row: Row
) -> tuple[int, dict[str, Any], float | None]:
    """Status and body of an answer, or how long to wait before asking again."""
    endpoint = ENDPOINTS[row.url]
    try:
        check_whole(row)
        body = endpoint.request.model_validate(row.body)
        later, salt = row.body.get("priority") or 0, row.body.get("cache_salt")
        manner = replace(manner, priority=manner.priority + max(later, 0), salt=salt)
        return 200, await endpoint.complete(service, manner, body), None
    except ValidationError as error:
        told = refusal(error)
    except Exception as error:
        told = api_error(error)
    wait_s = min(float(told.headers.get("Retry-After", "1")), _MOST_WAIT_S)
    return told.status, openai_error(told), wait_s if told.code in _WAIT_CODES else None


def check_whole(row: Row) -> None:
    """Refuse a row that asks for a stream.

    Raises:
        ApiError: It does.
    """
    if row.body.get("stream"):
        raise invalid("stream", "`stream`: a row is answered whole")


def answer_line(row: Row, status: int, body: dict[str, Any]) -> dict[str, Any]:
    """The line of a row that was asked."""
    response = {"status_code": status, "request_id": secrets.token_hex(16), "body": body}
    return {"id": _new_id(), "custom_id": row.custom_id, "response": response, "error": None}


def fault_line(fault: Fault) -> dict[str, Any]:
    """The line that answers one that is no request."""
    error = {"code": fault.code, "message": f"line {fault.line}: {fault.message}"}
    said = {"id": _new_id(), "custom_id": fault.custom_id, "line": fault.line}
    return {**said, "response": None, "error": error}


def unasked_line(row: Row, code: str, message: str) -> dict[str, Any]:
    """The line of a row that was never asked."""
    error = {"code": code, "message": message}
    return {"id": _new_id(), "custom_id": row.custom_id, "response": None, "error": error}


def is_answer(line: Mapping[str, Any]) -> bool:
    """Whether a line of the output is an answer, not an error."""
    response = line["response"]
    return response is not None and response["status_code"] == 200


async def run_rows(
    rows: Iterable[Row],
    answer: Callable[[Row], Awaitable[dict[str, Any]]],
    write: Callable[[dict[str, Any]], None],
    concurrency: int,
) -> None:
    """Answer rows, so many at once, and write each answer when it is there.

    Raises:
        OSError: An answer cannot be written; the others are given up.
    """
    left = iter(rows)

    async def work() -> None:
        for row in left:  # shared: each row is taken by one worker
            write(await answer(row))

    await together([work() for _ in range(concurrency)])


def _new_id() -> str:
    return f"batch_req_{secrets.token_hex(12)}"

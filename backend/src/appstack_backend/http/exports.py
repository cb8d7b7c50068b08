"""/v1/exports: the catalogue out."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

from starlette.responses import Response, StreamingResponse

from appstack_backend.database import Database
from appstack_backend.errors import ExportNotReady, ExportsTooMany, NotFound, RequestInvalid
from appstack_backend.http.context import Call, answer
from appstack_backend.http.imports import problem
from appstack_backend.http.ranges import asked
from appstack_backend.repository import exports as repository

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
FILTERS = ("category", "supplier", "q")


def shown(job: repository.Job) -> dict[str, Any]:
    """An export as the API shows it."""
    names = (
        *("id", "state", "format", "filter", "rows", "bytes"),
        *("request_id", "created_at", "started_at", "finished_at"),
    )
    code = job["error_code"]
    error = problem(code, f"the export could not be written; its request id is {job['request_id']}")
    return {"kind": "export", "code": code, "error": error, **{name: job[name] for name in names}}


async def create(call: Call) -> Response:
    """Order a file of the products that the filter names."""
    body = await call.json()
    file_format, filters = body.get("format", "csv"), body.get("filter", {})
    if not isinstance(file_format, str) or file_format not in MEDIA_TYPES:
        raise RequestInvalid("format must be csv or ndjson")
    if not isinstance(filters, dict) or not set(filters) <= set(FILTERS):
        raise RequestInvalid(f"filter may name {', '.join(FILTERS)}")
    if not all(isinstance(value, str) and "\0" not in value and len(value) <= 1_000 for value in filters.values()):
        raise RequestInvalid("a filter must be a text of at most 1000 characters")
    given = {name: value for name, value in filters.items() if value}
    job = await repository.create(
        *(call.state.stores.database, uuid4(), file_format, given, call.caller.name, call.request_id),
        call.state.settings.export_max_running,
    )
    if job is None:
        raise ExportsTooMany()
    call.state.stores.relay.poke()
    return answer(shown(job), 202, {"location": f"/v1/exports/{job['id']}"})


async def show(call: Call) -> Response:
    return answer(shown(await known(call)))


async def content(call: Call) -> Response:
    """The file, or the part of it that is asked for, a piece at a time."""
    job = await known(call)
    if job["state"] != "succeeded":
        raise ExportNotReady(f"the export is {job['state']}")
    tag = f'"{job["id"].hex}"'  # the file of an export never changes
    headers = {
        "accept-ranges": "bytes",
        "content-disposition": f'attachment; filename="products.{job["format"]}"',
        "etag": tag,
    }
    part = None
    given, method = call.request.headers, call.request.method
    if method == "GET" and given.get("if-range", tag) == tag:
        part = asked(given.get("range"), job["bytes"])
    first, end = (part.first, part.end) if part else (0, job["bytes"])
    headers["content-length"] = str(end - first)
    if part:
        headers["content-range"] = part.content_range(job["bytes"])
    status, media_type = 206 if part else 200, MEDIA_TYPES[job["format"]]
    if method == "HEAD":
        return Response(None, status, headers, media_type)
    pieces = pieces_of(call.state.stores.database, job["id"], first, end)
    return StreamingResponse(pieces, status, headers, media_type)


async def pieces_of(database: Database, job_id: UUID, first: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of a file from the first one to the one before the end."""
    number, at = await repository.piece_at(database, job_id, first) if first else (0, 0)
    while at < end and (piece := await repository.piece(database, job_id, number)):
        yield piece[max(first - at, 0) : end - at]
        number, at = number + 1, at + len(piece)


async def known(call: Call) -> repository.Job:
    job = await repository.by_id(call.state.stores.database, call.path_uuid())
    if job is None:
        raise NotFound("there is no such export")
    return job

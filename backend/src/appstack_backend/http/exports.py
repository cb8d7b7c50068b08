"""/v1/exports: the catalogue out."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from starlette.responses import Response, StreamingResponse

from appstack_backend.errors import ExportNotReady, ExportsTooMany, NotFound, RequestInvalid
from appstack_backend.http.context import Call, answer
from appstack_backend.http.imports import problem
from appstack_backend.repository import exports as repository

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}
FILTERS = ("category", "supplier", "q")


def shown(job: repository.Job) -> dict[str, Any]:
    """An export as the API shows it."""
    names = ("id", "state", "format", "filter", "rows", "bytes", "created_at", "started_at", "finished_at")
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
    """The file, a piece at a time."""
    job = await known(call)
    if job["state"] != "succeeded":
        raise ExportNotReady(f"the export is {job['state']}")
    headers = {
        "content-length": str(job["bytes"]),
        "content-disposition": f'attachment; filename="products.{job["format"]}"',
    }

    async def pieces() -> AsyncIterator[bytes]:
        number = 0
        while piece := await repository.piece(call.state.stores.database, job["id"], number):
            yield piece
            number += 1

    return StreamingResponse(pieces(), headers=headers, media_type=MEDIA_TYPES[job["format"]])


async def known(call: Call) -> repository.Job:
    job = await repository.by_id(call.state.stores.database, call.path_uuid())
    if job is None:
        raise NotFound("there is no such export")
    return job

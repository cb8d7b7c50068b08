"""/v1/imports: feeds in."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from appstack_backend.errors import (
    CATALOGUE,
    ImportFinished,
    ImportTruncated,
    MediaTypeUnsupported,
    NotFound,
    RequestInvalid,
    UploadsBusy,
)
from appstack_backend.http.context import ApiState, Call, answer, next_cursor
from appstack_backend.http.ends import remember_ends
from appstack_backend.http.patience import Patience
from appstack_backend.imports.receive import Services, Upload, receive
from appstack_backend.repository import imports as repository

MEDIA_TYPES = {
    "text/csv": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
}
LONGEST_KEY = 200
STOPPING = "the instance stops: send the body again with its Idempotency-Key, and another one goes on"


def problem(code: str | None, message: str | None) -> dict[str, str] | None:
    """Why a job failed, for people and for programs."""
    return {"code": code, "message": message or CATALOGUE[code].title} if code else None


def shown(job: repository.Job) -> dict[str, Any]:
    """An import as the API shows it."""
    return {
        "id": job["id"],
        "kind": "import",
        "state": job["state"],
        "format": job["format"],
        "code": job["error_code"],
        "error": problem(job["error_code"], job["error_message"]),
        "rows": {name: job[f"rows_{name}"] for name in ("received", "imported", "rejected")},
        "chunks": {name: job[f"chunks_{name}"] for name in ("total", "done", "redelivered")},
        "request_id": job["request_id"],
        "created_at": job["created_at"],
        "started_at": job["started_at"],
        "finished_at": job["finished_at"],
    }


async def create(call: Call) -> Response:
    """Take a feed as the body, streamed, and answer when all of it is stored."""
    state = call.state
    upload = described(call)
    if state.uploads >= state.settings.import_max_uploads:
        raise UploadsBusy()
    state.uploads += 1
    try:
        services = Services(state.stores.database, state.settings, state.stores.relay.poke)
        job = await receive(services, upload, body_of(call.request, state))
    finally:
        state.uploads -= 1
    await call.remember()
    return answer(shown(job), 202, {"location": f"/v1/imports/{job['id']}"})


def described(call: Call) -> Upload:
    """What the headers say about the body."""
    headers = call.request.headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if media_type not in MEDIA_TYPES:
        raise MediaTypeUnsupported("Content-Type must be text/csv or application/x-ndjson")
    if encoding not in ("identity", "gzip"):
        raise MediaTypeUnsupported("Content-Encoding must be gzip or absent")
    key = headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isprintable()):
        raise RequestInvalid(f"Idempotency-Key must have 1 to {LONGEST_KEY} printable characters")
    return Upload(MEDIA_TYPES[media_type], encoding == "gzip", call.caller.name, key, call.request_id)


async def body_of(request: Request, state: ApiState) -> AsyncIterator[bytes]:
    """The pieces of the body. Raises ImportTruncated if it ends before it should, or keeps its place for too little."""
    settings = state.settings
    patience = Patience(settings.import_patience_seconds, settings.import_slowest_bytes_per_second)
    length = request.headers.get("content-length")
    received = 0
    stream = request.stream()
    while True:
        if state.is_leaving_senders:
            raise ImportTruncated(STOPPING)
        asked_at = time.monotonic()
        try:
            async with asyncio.timeout(patience.left_seconds) as limit:
                state.senders.add(limit)
                piece = await anext(stream, None)
        except ClientDisconnect:
            raise ImportTruncated("the connection ended before the body did") from None
        except TimeoutError:
            raise ImportTruncated(STOPPING if state.is_leaving_senders else "the body came too slowly") from None
        finally:
            state.senders.discard(limit)
        if piece is None:
            break
        patience.note(time.monotonic() - asked_at, len(piece))
        received += len(piece)
        if piece:
            yield piece
    if length is not None and received < int(length):
        raise ImportTruncated("the body is shorter than its Content-Length")


async def show(call: Call) -> Response:
    job = await known(call)
    await remember_ends(call, [job])
    return answer(shown(job))


async def show_errors(call: Call) -> Response:
    """Rejected rows in the order of the file."""
    job, limit = await known(call), call.limit()
    rows = await repository.page_of_errors(call.state.stores.database, job["id"], call.number_cursor(), limit)
    return answer({"items": rows, "next_cursor": next_cursor(rows, limit, rows[-1]["line"] if rows else 0)})


async def cancel(call: Call) -> Response:
    """Stop an import; what was applied stays."""
    job = await known(call)
    cancelled = await repository.cancel(call.state.stores.database, job["id"])
    if cancelled is None:
        cancelled = await known(call)
        if cancelled["state"] != "cancelled":
            raise ImportFinished(f"the import is finished: {cancelled['state']}")
    call.state.stores.relay.poke()
    return answer(shown(cancelled))


async def known(call: Call) -> repository.Job:
    job = await repository.by_id(call.state.stores.database, call.path_uuid())
    if job is None:
        raise NotFound("there is no such import")
    return job

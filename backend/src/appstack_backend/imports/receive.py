"""Receiving a feed: the request's body becomes chunks in the database while it is still arriving."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg

from appstack_backend import tracing
from appstack_backend.database import Database
from appstack_backend.errors import (
    ApiError,
    IdempotencyKeyBusy,
    IdempotencyKeyReused,
    ImportCancelled,
    ImportTruncated,
)
from appstack_backend.feeds.chunks import Chunk, ChunkBuilder
from appstack_backend.feeds.csv_feed import CsvFeed
from appstack_backend.feeds.inflate import Inflater
from appstack_backend.feeds.ndjson_feed import NdjsonFeed
from appstack_backend.logs import get_logger
from appstack_backend.metrics import IMPORT_ROWS
from appstack_backend.repository import imports as repository
from appstack_backend.repository.imports import Job, Receiver
from appstack_backend.settings import Settings

log = get_logger()
FEEDS: dict[str, Callable[[int], CsvFeed | NdjsonFeed]] = {"csv": CsvFeed, "ndjson": NdjsonFeed}
SLICE_BYTES = 64 << 10  # parsed without a pause: a few milliseconds


@dataclass(frozen=True, slots=True)
class Upload:
    """What a request says about its body."""

    format: str
    is_gzip: bool
    owner: str
    key: str | None
    request_id: str


@dataclass(slots=True)
class Services:
    """What receiving needs from the process."""

    database: Database
    settings: Settings
    poke_outbox: Callable[[], None]

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.settings.import_lease_seconds)


async def receive(services: Services, upload: Upload, body: AsyncIterator[bytes]) -> Job:
    """The job that this body is, new or known by its Idempotency-Key."""
    job = await repository.create(
        services.database, uuid4(), upload.format, upload.owner, upload.key, upload.request_id, services.lease
    )
    if job is None:
        assert upload.key is not None
        job = await repository.by_key(services.database, upload.owner, upload.key)
        assert job is not None
        if job["format"] != upload.format:
            raise IdempotencyKeyReused("the Idempotency-Key belongs to a body of another Content-Type")
        if job["body_sha256"] is not None:
            return await compare(job, body)
        job = await resume(services, job)
    log.info("import is received", job_id=str(job["id"]), format=upload.format)
    return await Reception(services, upload, job).run(body)


async def compare(job: Job, body: AsyncIterator[bytes]) -> Job:
    """The finished job, if this body is its body."""
    digest = hashlib.sha256()
    async for piece in body:
        digest.update(piece)
    if digest.digest() != job["body_sha256"]:
        raise IdempotencyKeyReused()
    return job


async def resume(services: Services, job: Job) -> Job:
    """Take over an upload whose sender or receiver died half-way."""
    if job["state"] == "cancelled":
        raise ImportCancelled()
    taken = await repository.take_over(services.database, job, services.lease)
    if taken is None:
        raise IdempotencyKeyBusy()
    log.info("import is resumed", job_id=str(job["id"]), chunks=taken["chunks_total"])
    return taken


class Reception:
    """One body on its way into one job."""

    def __init__(self, services: Services, upload: Upload, job: Job) -> None:
        settings = services.settings
        self._services, self._upload, self._job = services, upload, job
        self._receiver = Receiver(job["id"], job["receiver"], services.lease)
        self._feed = FEEDS[upload.format](settings.import_max_line_bytes)
        self._inflater = Inflater() if upload.is_gzip else None
        self._chunks = ChunkBuilder(settings.import_chunk_rows, settings.import_chunk_bytes)
        self._known: list[bytes] = []
        self._errors_left = settings.import_max_stored_errors
        self._storing: asyncio.Task[None] | None = None
        self._digest = hashlib.sha256()

    async def run(self, body: AsyncIterator[bytes]) -> Job:
        """Receive the body; where that fails, its sender may go on at once, and need not wait for a lease to end."""
        try:
            return await self._receive(body)
        except (ApiError, psycopg.Error):
            with suppress(ApiError, psycopg.Error):
                await repository.release(self._services.database, self._receiver)
            raise

    async def _receive(self, body: AsyncIterator[bytes]) -> Job:
        """Read to the end, or to where the body breaks; the complete rows before that are kept."""
        self._known = await repository.digests(self._services.database, self._receiver.id)
        failure: ApiError | None = None
        async with self._lease_renewed():
            try:
                async for piece in self._hashed(body):
                    if failure is None:
                        failure = await self._take(piece)
                failure = failure or await self._take_end()
                is_whole = True
            except ImportTruncated as error:
                failure, is_whole = failure or error, False
            if rest := self._chunks.rest(is_partial=not is_whole):
                await self._store(rest)
            await self._stored()
        return await self._finish(failure, self._digest.digest() if is_whole else None)

    async def _hashed(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body in slices that are neither tiny nor long."""
        waiting, truncated = bytearray(), None
        try:
            async for piece in body:
                self._digest.update(piece)
                waiting += piece
                while len(waiting) >= SLICE_BYTES:
                    yield bytes(waiting[:SLICE_BYTES])
                    del waiting[:SLICE_BYTES]
        except ImportTruncated as error:
            truncated = error
        if waiting:
            yield bytes(waiting)
        if truncated:
            raise truncated

    async def _take(self, piece: bytes) -> ApiError | None:
        """Bring one slice into chunks; returns what makes the rest unreadable."""
        try:
            for data in self._inflater.feed(piece) if self._inflater else (piece,):
                await self._store_full(self._chunks.add(self._feed.feed(data)))
                await asyncio.sleep(0)  # a small body may inflate to a very large one, and make no chunk
        except ApiError as error:
            if isinstance(error, ImportCancelled | IdempotencyKeyReused | IdempotencyKeyBusy) or error.status >= 500:
                raise
            return error
        return None

    async def _take_end(self) -> ApiError | None:
        if self._inflater and not self._inflater.is_complete:
            return ImportTruncated("the gzip stream ended early")
        try:
            await self._store_full(self._chunks.add(self._feed.close()))
        except ApiError as error:
            if error.status >= 500:
                raise
            return error
        return None

    async def _store_full(self, chunks: Iterator[Chunk]) -> None:
        for chunk in chunks:
            await self._store(chunk)

    async def _store(self, chunk: Chunk) -> None:
        """Store a chunk while the next one is being read; at most one is on its way."""
        await self._stored()
        self._storing = asyncio.create_task(self._store_now(chunk))
        await asyncio.sleep(0)

    async def _stored(self) -> None:
        if self._storing is not None:
            await self._storing
            self._storing = None

    async def _store_now(self, chunk: Chunk) -> None:
        payload = chunk.payload()
        digest = chunk.digest(payload)
        errors = chunk.errors[: max(self._errors_left, 0)]
        self._errors_left -= len(chunk.errors)
        if chunk.number < len(self._known):
            if digest != self._known[chunk.number]:
                raise IdempotencyKeyReused()
            return
        values = {
            "id": self._receiver.id,
            "receiver": self._receiver.number,
            "lease": self._receiver.lease,
            "number": chunk.number,
            "first_line": chunk.first_line,
            "rows": len(chunk.lines),
            "rejected": len(chunk.errors),
            "is_partial": chunk.is_partial,
            "payload": payload,
            "digest": digest,
            "lines": [line for line, _ in errors],
            "codes": [error.code for _, error in errors],
            "messages": [error.detail for _, error in errors],
            "message_id": f"import.chunk/{self._receiver.id}/{chunk.number}",
            "message": {
                "kind": "import.chunk",
                "import_id": str(self._receiver.id),
                "chunk": chunk.number,
                "request_id": self._upload.request_id,
                "traceparent": tracing.current(),
            },
        }
        if not await repository.store_chunk(self._services.database, values):
            # Either a repeated call whose first commit stood, or the job is no longer ours.
            known = await repository.digests(self._services.database, self._receiver.id)
            if known[chunk.number :] != [digest]:
                raise await self._lost()
        IMPORT_ROWS.labels("received").inc(len(chunk.lines) + len(chunk.errors))
        IMPORT_ROWS.labels("rejected").inc(len(chunk.errors))
        self._services.poke_outbox()

    async def _lost(self) -> ApiError:
        """Why the job is no longer ours: somebody cancelled it, or it was given up while we were slow."""
        job = await repository.by_id(self._services.database, self._receiver.id)
        if job is not None and job["state"] == "cancelled":
            return ImportCancelled()
        return IdempotencyKeyBusy("the upload was given up meanwhile; send it again")

    async def _finish(self, failure: ApiError | None, sha256: bytes | None) -> Job:
        values: dict[str, Any] = {
            "id": self._receiver.id,
            "receiver": self._receiver.number,
            "outcome": "failed" if failure else "succeeded",
            "code": failure.code if failure else None,
            "message": failure.detail if failure else None,
            "sha256": sha256,
        }
        job = await repository.finish_upload(self._services.database, values)
        job = job or await repository.by_id(self._services.database, self._receiver.id)
        assert job is not None
        self._services.poke_outbox()
        log.info(
            "import is received completely", job_id=str(job["id"]), rows=job["rows_received"], code=job["error_code"]
        )
        return job

    @asynccontextmanager
    async def _lease_renewed(self) -> AsyncIterator[None]:
        """Tell everybody that the receiver lives, also while the sender is slow."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._services.settings.import_lease_seconds / 3)
                try:
                    await repository.renew(self._services.database, self._receiver)
                except (ApiError, psycopg.Error) as error:  # after an outage the lease may still be ours
                    log.warning("the lease of an upload could not be renewed", error=str(error).strip())

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            if self._storing is not None:
                self._storing.cancel()

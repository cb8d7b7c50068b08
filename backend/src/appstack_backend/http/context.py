"""What a request handler is given: the process's services, the caller, and small helpers for requests and answers."""

import asyncio
import base64
import binascii
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from appstack_backend.cache import UNKNOWN, Cache, Look
from appstack_backend.errors import BodyTooSlow, NotFound, RequestInvalid
from appstack_backend.processes import Stores
from appstack_backend.reads import Reader
from appstack_backend.repository import catalogue
from appstack_backend.settings import Settings
from appstack_backend.together import Together

DEFAULT_LIMIT, MOST = 50, 500
MOST_TOGETHER = 50  # products that one query looks up for as many requests
encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class ApiState:
    """What the process knows about itself."""

    settings: Settings
    stores: Stores
    cache: Cache
    is_draining: bool = False
    schema_missing: list[int] | None = None  # None: the database was not seen yet
    uploads: int = 0
    senders: set[asyncio.Timeout] = field(default_factory=set)  # of uploads, each while it is waited for
    is_leaving_senders: bool = False
    in_flight: int = 0
    searches: asyncio.Semaphore = field(init=False)
    products: Together = field(init=False)

    def __post_init__(self) -> None:
        reads = self.stores.reads
        self.products = Together(lambda skus, lsn: catalogue.products(reads.reader(lsn), skus), MOST_TOGETHER)
        self.searches = asyncio.Semaphore(self.settings.database_pool_size // 2)

    def leave_senders(self) -> None:
        """Wait no longer for what is still being uploaded: what has come is kept, and another instance goes on."""
        self.is_leaving_senders = True
        for limit in (one for one in self.senders if not one.expired()):
            limit.reschedule(asyncio.get_running_loop().time())


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    name: str
    scopes: frozenset[str]


@dataclass(slots=True)
class Call:
    """One request with its surroundings."""

    request: Request
    state: ApiState
    caller: Caller
    request_id: str
    look: Look = UNKNOWN

    @property
    def reader(self) -> Reader:
        """For reads that a replica may serve, if it has replayed the caller's last write."""
        return self.state.stores.reads.reader(self.look.needed_lsn)

    async def remember(self, catalogue: bool = False) -> None:
        """After a commit: the caller's next reads shall know of it, and of a changed catalogue everybody's."""
        reads, name = self.state.stores.reads, self.caller.name
        if reads.replica is not None or catalogue:
            await self.state.cache.remember(await reads.lsn(), name if reads.replica else None, catalogue)

    def path_uuid(self, name: str = "id") -> UUID:
        """An id from the path; what is no id names nothing."""
        try:
            return UUID(self.request.path_params[name])
        except ValueError:
            raise NotFound() from None

    def limit(self) -> int:
        """The page size asked for."""
        text = self.request.query_params.get("limit", str(DEFAULT_LIMIT))
        if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= MOST):
            raise RequestInvalid(f"limit must be a number from 1 to {MOST}")
        return int(text)

    def cursor(self) -> list[Any] | None:
        """Where the page starts, as `next_cursor` of the page before said."""
        text = self.request.query_params.get("cursor")
        if not text:
            return None
        try:
            values = msgspec.json.decode(base64.urlsafe_b64decode(text.encode() + b"=="))
        except (binascii.Error, msgspec.DecodeError, ValueError, RecursionError):
            raise RequestInvalid("cursor is not one that this API gave out") from None
        if not isinstance(values, list):
            raise RequestInvalid("cursor is not one that this API gave out")
        return values

    def text_cursor(self) -> str:
        """A cursor of one text; empty for the first page."""
        values = self.cursor() or [""]
        if len(values) != 1 or not isinstance(values[0], str) or "\0" in values[0]:
            raise RequestInvalid("cursor is not one that this API gave out")
        return values[0]

    def number_cursor(self) -> int:
        """A cursor of one number; 0 for the first page."""
        values = self.cursor() or [0]
        if len(values) != 1 or type(values[0]) is not int or not 0 <= values[0] < 1 << 62:
            raise RequestInvalid("cursor is not one that this API gave out")
        return values[0]

    def uuid_cursor(self) -> UUID:
        """A cursor of one id; the smallest for the first page."""
        text = self.text_cursor()
        try:
            return UUID(text) if text else UUID(int=0)
        except ValueError:
            raise RequestInvalid("cursor is not one that this API gave out") from None

    def age_cursor(self) -> tuple[datetime, UUID] | None:
        """A cursor of a time and an id."""
        values = self.cursor()
        if values is None:
            return None
        try:
            moment, job_id = datetime.fromisoformat(values[0]), UUID(values[1])
            if moment.tzinfo is None:
                raise ValueError("a time that is nowhere")
            return moment.astimezone(UTC), job_id  # PostgreSQL knows no offsets of 16 hours and more
        except (IndexError, TypeError, ValueError, AttributeError, OverflowError):
            raise RequestInvalid("cursor is not one that this API gave out") from None

    def filters(self, *names: str) -> dict[str, str]:
        """The given ones of some query parameters."""
        given = {name: self.request.query_params.get(name, "") for name in names}
        if any("\0" in value or len(value) > 1_000 for value in given.values()):
            raise RequestInvalid("a filter is too long or contains a NUL character")
        return {name: value for name, value in given.items() if value}

    async def json(self, most_bytes: int = 64 << 10) -> dict[str, Any]:
        """The body as a JSON object."""
        body = bytearray()
        try:
            async with asyncio.timeout(self.state.settings.body_seconds):
                async for piece in self.request.stream():
                    body += piece
                    if len(body) > most_bytes:
                        raise RequestInvalid(f"the body is longer than {most_bytes} bytes")
        except TimeoutError:
            raise BodyTooSlow() from None
        try:
            value = msgspec.json.decode(bytes(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RequestInvalid("the body is not JSON") from None
        if not isinstance(value, dict):
            raise RequestInvalid("the body is not a JSON object")
        return value


def next_cursor(rows: list[Any], limit: int, *values: Any) -> str | None:
    """The cursor behind a page; None if it was the last."""
    return as_cursor(*values) if len(rows) >= limit else None


def as_cursor(*values: Any) -> str:
    """What names a place in a listing to a client."""
    return base64.urlsafe_b64encode(encode(values)).decode().rstrip("=")


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(encode(value), status, headers, media_type="application/json")

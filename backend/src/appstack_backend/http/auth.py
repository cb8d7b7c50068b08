"""Who sent a request: bearer tokens with scopes; `API_ADMIN_TOKEN` is the first of them and needs no database."""

import asyncio
import hashlib
import hmac
import math
import secrets
import time

from starlette.requests import Request

from appstack_backend.errors import RateLimited, ScopeMissing, TokenInvalid, TokenMissing
from appstack_backend.http.attempts import Attempts, address_of
from appstack_backend.http.context import ApiState, Caller
from appstack_backend.repository import tokens

SCOPES = ("read", "write", "admin")
ANYBODY = Caller("anybody", frozenset())
ADMIN = Caller("admin", frozenset(SCOPES))
REMEMBERED_SECONDS = 5.0  # a revoked token works at most this much longer
MOST_REMEMBERED = 10_000


def new_token() -> str:
    """A token, shown once."""
    return f"as_{secrets.token_urlsafe(32)}"


def digest(token: str) -> bytes:
    """What is stored of it."""
    return hashlib.sha256(token.encode()).digest()


class Authenticator:
    """Tells callers by their tokens, remembering the answers for a moment."""

    def __init__(self, state: ApiState) -> None:
        self._state = state
        self._admin = digest(state.settings.api_admin_token) if state.settings.api_admin_token else None
        self._remembered: dict[bytes, tuple[float, Caller]] = {}  # also those whose time is over
        self._asking: dict[bytes, asyncio.Task[Caller | None]] = {}
        self._attempts = Attempts(state.cache, state.settings.auth_failures_per_minute)

    async def caller(self, request: Request, scope: str | None) -> Caller:
        """Raises TokenMissing, TokenInvalid, ScopeMissing or RateLimited. Scope admin includes the others."""
        if scope is None:
            return ANYBODY
        kind, _, token = request.scope["appstack.headers"].get(b"authorization", b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise TokenMissing()
        caller = await self._lookup(digest(token.strip()), request)
        if scope not in caller.scopes and "admin" not in caller.scopes:
            raise ScopeMissing(f"this needs a token with the scope {scope}")
        return caller

    async def _lookup(self, token_digest: bytes, request: Request) -> Caller:
        if self._admin and hmac.compare_digest(token_digest, self._admin):
            return ADMIN
        until, caller = self._remembered.get(token_digest, (0.0, None))
        if caller is not None and until > time.monotonic():
            return caller
        address = self._address(request)
        # Who has a token that was good a while ago does not suffer from a guesser behind the same address.
        if caller is None and (wait := await self._attempts.wait_seconds(address)):
            raise RateLimited("too many tokens from this address were not valid", retry_after_seconds=math.ceil(wait))
        found = await asyncio.shield(self._ask(token_digest))
        if found is None:
            await self._attempts.count(address)
            raise TokenInvalid()
        return found

    def _ask(self, token_digest: bytes) -> asyncio.Task[Caller | None]:
        """The one look-up of a token for all who wait for it: whoever of them leaves does not end it."""
        if token_digest not in self._asking:
            task = self._asking[token_digest] = asyncio.create_task(self._look_up(token_digest))
            task.add_done_callback(lambda _: self._asking.pop(token_digest))
        return self._asking[token_digest]

    async def _look_up(self, token_digest: bytes) -> Caller | None:
        until = time.monotonic() + REMEMBERED_SECONDS
        row = await tokens.by_hash(self._state.stores.reads, token_digest)
        if row is None:
            self._remembered.pop(token_digest, None)
            return None
        caller = Caller(f"token:{row['id']}", frozenset(row["scopes"]))
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[token_digest] = (until, caller)
        return caller

    def _address(self, request: Request) -> str:
        forwarded_for = ",".join(request.headers.getlist("x-forwarded-for"))
        peer = request.client.host if request.client else ""
        return address_of(peer, forwarded_for, self._state.settings.trusted_proxies)

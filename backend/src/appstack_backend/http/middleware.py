"""The one place where a request gets its id, its log line, its metrics, and where every failure becomes a problem."""

import asyncio
import re
import time
from contextlib import suppress
from functools import cache
from random import getrandbits

import psycopg
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appstack_backend import errors, logs, tracing
from appstack_backend.database import is_transient
from appstack_backend.http.context import ApiState, encode
from appstack_backend.metrics import ERRORS, REQUEST_SECONDS, REQUESTS, REQUESTS_IN_FLIGHT

log = logs.get_logger()
is_request_id = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
STATUS_ERRORS: dict[int, type[errors.ApiError]] = {404: errors.NotFound, 405: errors.MethodNotAllowed}
QUIET = ("/livez", "/readyz")
BODY_HEADERS = frozenset((b"content-length", b"transfer-encoding"))
MOST_READ_BYTES, READ_SECONDS = 1 << 20, 2.0


def as_api_error(error: BaseException) -> errors.ApiError:
    """What the user is told of a failure: never more than the catalogue says."""
    if isinstance(error, errors.ApiError):
        return error
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return errors.SchemaNotReady()
    if is_transient(error):
        return errors.DatabaseUnavailable()
    if isinstance(error, HTTPException):
        return STATUS_ERRORS.get(error.status_code, errors.RequestInvalid)()
    return errors.InternalError()


def problem_response(error: errors.ApiError, cause: BaseException, request_id: str) -> Response:
    """The answer to a failed request."""
    headers = {"cache-control": "no-store", **error.headers}
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(error.retry_after_seconds)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(cause, HTTPException) and cause.headers:
        headers.update(cause.headers)
    return Response(encode(error.problem(request_id)), error.status, headers, "application/problem+json")


class RequestMiddleware:
    """Outermost: nothing gets past it."""

    def __init__(self, app: ASGIApp, state: ApiState) -> None:
        self._app, self._state = app, state
        REQUESTS_IN_FLIGHT.set_function(lambda: state.in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = scope["appstack.headers"] = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if is_request_id(given) else f"{getrandbits(128):032x}"
        scope["appstack.request_id"] = request_id
        logs.begin(request_id=request_id)
        exchange = Exchange(self._state, scope, receive, send, request_id)
        self._state.in_flight += 1
        parent = headers.get(b"traceparent", b"").decode("latin-1")
        with tracing.span(scope["method"], "SERVER", parent, path=scope["path"], request_id=request_id):
            try:
                await self._app(scope, exchange.receive, exchange.send)
            except ClientDisconnect:
                exchange.status = 499
            except Exception as error:
                await exchange.fail(error)
            finally:
                self._state.in_flight -= 1
                exchange.finish()


class Exchange:
    """One request and what was answered."""

    def __init__(self, state: ApiState, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self._state, self._is_http1 = state, scope["http_version"].startswith("1")
        self._scope, self._receive, self._send, self._request_id = scope, receive, send, request_id
        self._has_body = not BODY_HEADERS.isdisjoint(scope["appstack.headers"])
        self._started = time.perf_counter()
        self.status = 0
        self.code: str | None = None

    async def receive(self) -> Message:
        """Note when the body has been read."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._has_body = False
        return message

    async def send(self, message: Message) -> None:
        """Add the request id to every answer, and before this process ends that its connection ends too."""
        if message["type"] == "http.response.start":
            if self._has_body:
                await self._read_rest()
            self.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id.encode())]
            if self._state.is_draining and self._is_http1:
                # Else a client that keeps its connection might send on it just as it is closed.
                message["headers"].append((b"connection", b"close"))
        await self._send(message)

    async def _read_rest(self) -> None:
        """Read what the sender is still sending, within limits: it may not look for an answer before."""
        left = MOST_READ_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                while self._has_body and left > 0:
                    left -= len((await self.receive()).get("body", b""))

    async def fail(self, cause: Exception) -> None:
        """Answer with a problem; when the answer had begun already, only the log tells."""
        error = as_api_error(cause)
        self.code = error.code
        ERRORS.labels(error.code).inc()
        trace = {"exc_info": cause} if error.log_level == "error" else {}
        getattr(log, error.log_level)("request failed", code=error.code, cause=repr(cause), **trace)
        if self.status:
            raise cause  # the server cuts the connection: the client must not take the rest for complete
        await problem_response(error, cause, self._request_id)(self._scope, self.receive, self.send)

    def finish(self) -> None:
        seconds = time.perf_counter() - self._started
        route = self._scope.get("appstack.route", "none")
        method = self._scope["method"]
        count, duration = series(method if route != "none" else "any", route, self.status)
        count.inc()
        duration.observe(seconds)
        if route not in QUIET:
            values = {"method": method, "path": self._scope["path"], "route": route, "status": self.status}
            values["milliseconds"] = round(seconds * 1000, 1)
            if self.code:
                values["code"] = self.code
            log.info("request", **values)


@cache
def series(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """The metrics of a kind of request, found once; there are only so many kinds."""
    return REQUESTS.labels(method, route, status), REQUEST_SECONDS.labels(method, route)

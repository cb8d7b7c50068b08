"""The ASGI application: operations become routes, behind the one middleware."""

import math
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from appstack_backend.errors import RateLimited
from appstack_backend.http import openapi
from appstack_backend.http.auth import Authenticator
from appstack_backend.http.context import ApiState, Call, answer
from appstack_backend.http.middleware import RequestMiddleware
from appstack_backend.http.routes import OPERATIONS, Operation

Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(state: ApiState) -> ASGIApp:
    """The application of one process."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    authenticator = Authenticator(state)
    routes = [
        Route(path, endpoint(state, authenticator, methods), methods=list(methods)) for path, methods in by_path.items()
    ]
    description, page = openapi.document(), openapi.page()

    async def openapi_json(request: Request) -> Response:
        return answer(description)

    async def docs(request: Request) -> Response:
        return HTMLResponse(page)

    routes += [Route("/openapi.json", openapi_json), Route("/docs", docs)]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        # Past Starlette's own error middleware, so that ours sees every failure first.
        scope["app"] = app
        await app.router(scope, receive, send)

    return RequestMiddleware(routed, state)


def endpoint(state: ApiState, authenticator: Authenticator, methods: dict[str, Operation]) -> Endpoint:
    """What answers on one path."""

    async def run(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        request.scope["appstack.route"] = operation.path
        caller = await authenticator.caller(request, operation.scope)
        call = Call(request, state, caller, request.scope["appstack.request_id"])
        if operation.scope:
            call.look = await state.cache.look(caller.name, operation.cache_key(request) if operation.cache_key else "")
            if call.look.wait_seconds:
                raise RateLimited(retry_after_seconds=math.ceil(call.look.wait_seconds))
        return await operation.run(call)

    return run

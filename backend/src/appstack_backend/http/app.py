"""The ASGI application: one middleware, one router, and what every operation needs before it runs."""

import math

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from appstack_backend.errors import RateLimited
from appstack_backend.http import openapi
from appstack_backend.http.auth import Authenticator
from appstack_backend.http.context import ApiState, Call, answer
from appstack_backend.http.middleware import RequestMiddleware
from appstack_backend.http.router import Router
from appstack_backend.http.routes import OPERATIONS, Operation


def build_app(state: ApiState) -> ASGIApp:
    """The application of one process."""
    router = Router((*OPERATIONS, *descriptions()))
    authenticator = Authenticator(state)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        operation, scope["path_params"] = router.find(scope["method"], scope["path"])
        scope["appstack.route"] = operation.path
        request = Request(scope, receive)
        caller = await authenticator.caller(request, operation.scope)
        call = Call(request, state, caller, scope["appstack.request_id"])
        if operation.scope:
            call.look = await state.cache.look(caller.name, operation.cache_key(request) if operation.cache_key else "")
            if call.look.wait_seconds:
                raise RateLimited(retry_after_seconds=math.ceil(call.look.wait_seconds))
        response = await operation.run(call)
        await response(scope, receive, send)

    return RequestMiddleware(app, state)


def descriptions() -> tuple[Operation, ...]:
    """What the API says of itself."""
    document, page = openapi.document(), openapi.page()

    async def openapi_json(call: Call) -> Response:
        return answer(document)

    async def docs(call: Call) -> Response:
        return HTMLResponse(page)

    return (
        Operation("GET", "/openapi.json", openapi_json, None, "This description"),
        Operation("GET", "/docs", docs, None, "The same for people"),
    )

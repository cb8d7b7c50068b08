"""/v1/tokens: who may do what."""

from uuid import uuid4

from starlette.responses import Response

from appstack_backend.errors import NotFound, RequestInvalid
from appstack_backend.http import auth
from appstack_backend.http.context import Call, answer, next_cursor
from appstack_backend.repository import tokens as repository


async def create(call: Call) -> Response:
    """A new token; this answer is the only one that shows it."""
    body = await call.json()
    name, scopes = body.get("name"), body.get("scopes")
    if not isinstance(name, str) or not 0 < len(name) <= 100 or "\0" in name:
        raise RequestInvalid("name must be a text of 1 to 100 characters")
    if not isinstance(scopes, list) or not scopes or not all(scope in auth.SCOPES for scope in scopes):
        raise RequestInvalid(f"scopes must be some of {', '.join(auth.SCOPES)}")
    token = auth.new_token()
    row = await repository.create(call.state.stores.database, uuid4(), name, auth.digest(token), sorted(set(scopes)))
    return answer({**row, "token": token}, 201)


async def page(call: Call) -> Response:
    limit = call.limit()
    rows = await repository.page(call.state.stores.database, call.uuid_cursor(), limit)
    return answer({"items": rows, "next_cursor": next_cursor(rows, limit, str(rows[-1]["id"]) if rows else "")})


async def revoke(call: Call) -> Response:
    """The token stops working within seconds."""
    row = await repository.revoke(call.state.stores.database, call.path_uuid())
    if row is None:
        raise NotFound("there is no such token")
    return answer(row)

"""/v1/subscriptions: who is told of what, and what became of it."""

import asyncio
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.responses import Response

from appstack_backend.errors import NotFound, RequestInvalid, SubscriptionsTooMany, TokenInvalid, WebhookUrlRefused
from appstack_backend.http.context import Call, answer, next_cursor
from appstack_backend.http.jobs import END_OF_TIME
from appstack_backend.repository import subscriptions as repository
from appstack_backend.repository import tokens
from appstack_backend.webhooks.guard import AddressRefused, check_url, public_addresses
from appstack_backend.webhooks.names import NamesBusy
from appstack_backend.webhooks.sign import new_secret

EVENTS = ("import.finished", "export.finished", "product.changed")
RESOLVE_SECONDS = 2.0


async def create(call: Call) -> Response:
    """A new subscription; this answer is the only one that shows its secret."""
    body = await call.json()
    events, url = body.get("events"), body.get("url")
    if not isinstance(events, list) or not events or not all(event in EVENTS for event in events):
        raise RequestInvalid(f"events must be some of {', '.join(EVENTS)}")
    if not isinstance(url, str):
        raise RequestInvalid("url must be a text")
    await allowed(call, url)
    secret = new_secret()
    most = call.state.settings.subscriptions_max
    row = await repository.create(
        call.state.stores.database, uuid4(), call.caller.name, url, sorted(set(events)), secret, most
    )
    if row is None:
        if await tokens.is_revoked(call.state.stores.database, call.caller.name):
            raise TokenInvalid()
        raise SubscriptionsTooMany(f"a token may have {most} subscriptions")
    return answer({**row, "secret": secret}, 201, {"location": f"/v1/subscriptions/{row['id']}"})


async def allowed(call: Call, url: str) -> None:
    """Refuse what could never be delivered. A name that cannot be resolved now is checked again at each delivery."""
    try:
        check_url(url)
        parts = urlsplit(url)
        async with asyncio.timeout(RESOLVE_SECONDS):
            await public_addresses(parts.hostname or "", parts.port or 443, call.state.settings.webhook_allow_private)
    except AddressRefused as error:
        raise WebhookUrlRefused(str(error)) from None
    except (OSError, TimeoutError, NamesBusy):
        pass


def shown(call: Call, row: repository.Row) -> repository.Row:
    """A subscription as the caller may see it: who cannot make any is not told their URLs, often secret."""
    return row if call.caller.scopes & {"write", "admin"} else {**row, "url": None}


async def page(call: Call) -> Response:
    limit = call.limit()
    rows = await repository.page(call.state.stores.database, call.uuid_cursor(), limit)
    items = [shown(call, row) for row in rows]
    return answer({"items": items, "next_cursor": next_cursor(rows, limit, str(rows[-1]["id"]) if rows else "")})


async def show(call: Call) -> Response:
    row = await repository.by_id(call.state.stores.database, call.path_uuid())
    if row is None:
        raise NotFound("there is no such subscription")
    return answer(shown(call, row))


async def delete(call: Call) -> Response:
    """Nothing more is delivered to it."""
    if not await repository.delete(call.state.stores.database, call.path_uuid()):
        raise NotFound("there is no such subscription")
    return Response(status_code=204)


async def deliveries(call: Call) -> Response:
    """What was and is to be delivered, newest first, with the reason of failures."""
    database, subscription_id, limit = call.state.stores.database, call.path_uuid(), call.limit()
    before, before_id = call.age_cursor() or END_OF_TIME
    if await repository.by_id(database, subscription_id) is None:
        raise NotFound("there is no such subscription")
    rows = await repository.page_of_deliveries(database, subscription_id, before, before_id, limit)
    last: tuple[str, ...] = (rows[-1]["created_at"].isoformat(), str(rows[-1]["id"])) if rows else ()
    return answer({"items": rows, "next_cursor": next_cursor(rows, limit, *last)})

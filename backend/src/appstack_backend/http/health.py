"""Health: whether this process lives, and whether it should be sent requests."""

from starlette.responses import Response

from appstack_backend.errors import SchemaNotReady, ShuttingDown
from appstack_backend.http.context import Call, answer


async def livez(call: Call) -> Response:
    """The process answers."""
    return answer({"status": "alive"})


async def readyz(call: Call) -> Response:
    """Not before the first start-up is complete, not while draining, not with an older schema.

    A lost database makes nobody unready: all instances would vanish at once, with every request that
    needs no database and every good error message.
    """
    if call.state.is_draining:
        raise ShuttingDown()
    if call.state.schema_missing is None:
        raise SchemaNotReady("the database was not reached yet")
    if call.state.schema_missing:
        raise SchemaNotReady(f"migrations are missing: {', '.join(map(str, call.state.schema_missing))}")
    return answer({"status": "ready"})

"""/v1/jobs: imports and exports together, newest first."""

from datetime import UTC, datetime
from uuid import UUID

from starlette.responses import Response

from appstack_backend.http import exports as export_routes
from appstack_backend.http import imports as import_routes
from appstack_backend.http.context import Call, answer, next_cursor
from appstack_backend.http.ends import remember_ends
from appstack_backend.repository import exports, imports

END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC), UUID(int=0)


async def page(call: Call) -> Response:
    """One keyset page: the newest of either kind, merged."""
    limit = call.limit()
    before, before_id = call.age_cursor() or END_OF_TIME
    database = call.state.stores.database
    found = await imports.page(database, before, before_id, limit)
    await remember_ends(call, found)
    jobs = [import_routes.shown(job) for job in found]
    jobs += [export_routes.shown(job) for job in await exports.page(database, before, before_id, limit)]
    jobs.sort(key=lambda job: (job["created_at"], job["id"]), reverse=True)
    rows = jobs[:limit]
    last = (rows[-1]["created_at"].isoformat(), str(rows[-1]["id"])) if rows else ()
    return answer({"items": rows, "next_cursor": next_cursor(rows, limit, *last)})

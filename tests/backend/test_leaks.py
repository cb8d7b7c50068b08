"""Whatever is asked, and whatever is away: no answer tells what is inside."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.backend.kit.described import hold_to_description
from tests.backend.kit.odd import THING, assert_no_leak, odd_request
from tests.backend.kit.processes import ADMIN_TOKEN, PATIENCE_SECONDS
from tests.backend.kit.rootfs import free_port
from tests.backend.kit.world import without_database

if TYPE_CHECKING:
    from tests.backend.kit.world import World

pytestmark = pytest.mark.timeout(600)


def test_answers_tell_nothing_from_inside_while_the_services_are_away(world: World) -> None:
    """An API whose Redis and broker were never there loses its database too; what it answers is as clean as ever."""
    nowhere = f"127.0.0.1:{free_port()}"
    api = world.start_api(
        *("alone",),
        REDIS_SENTINELS="",
        REDIS_SENTINEL_MASTER="",
        REDIS_URL=f"redis://:password@{nowhere}/0",
        RABBITMQ_URL=f"amqp://user:password@{nowhere}/",
        DATABASE_PATIENCE_SECONDS="0",
    )
    draw = random.Random(7)
    assert api.http.put("/v1/products/P", json=THING).is_success, "Redis and the broker are not needed for it"
    with without_database(world), ThreadPoolExecutor(4) as senders:
        answers = list(
            senders.map(lambda request: api.http.request(**request), [odd_request(draw) for _ in range(120)])
        )
    codes = set()
    for answer in answers:
        if answer.is_error and answer.request.method != "HEAD":
            problem = answer.json()
            codes.add(problem["code"])
            assert_no_leak(json.dumps({**problem, "request_id": ""}))
    assert {"DATABASE_UNAVAILABLE", "REQUEST_INVALID"} <= codes
    assert "INTERNAL_ERROR" not in codes


def test_odd_requests_get_clean_answers(world: World) -> None:
    """No 5xx, no hang, nothing from inside; the answers quote only what was sent."""
    draw = random.Random(5)
    http = httpx.Client(
        base_url=world.api.http.base_url,
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        timeout=PATIENCE_SECONDS,
        event_hooks={"response": [hold_to_description]},
    )
    codes = set()
    for _ in range(400):
        request = odd_request(draw)
        try:
            answer = http.request(**request)
        except httpx.TransportError as error:
            pytest.fail(f"{error!r}: {request}")
        assert answer.status_code < 500, (request, answer.text)
        if answer.is_error and request["method"] != "HEAD":
            problem = answer.json()
            codes.add(problem["code"])
            assert_no_leak(json.dumps({**problem, "request_id": ""}))
    assert {"REQUEST_INVALID", "NOT_FOUND", "METHOD_NOT_ALLOWED", "MEDIA_TYPE_UNSUPPORTED"} <= codes

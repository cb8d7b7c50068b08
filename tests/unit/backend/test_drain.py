"""What becomes of uploads that go on while their instance is told to stop."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

from appstack_backend.errors import ImportTruncated
from appstack_backend.http.context import ApiState
from appstack_backend.http.imports import STOPPING, body_of
from appstack_backend.http.run import drain
from appstack_backend.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Message


def a_state(**more: float) -> ApiState:
    settings = {"drain_pause_seconds": 0, "drain_timeout_seconds": 0.4, "database_pool_size": 10}
    settings |= {"import_patience_seconds": 60.0, "import_slowest_bytes_per_second": 1 << 10, **more}
    nowhere: Any = SimpleNamespace(reads=None)
    return ApiState(Settings.model_construct(None, **settings), nowhere, nowhere)


async def upload(state: ApiState, pause_seconds: float, pieces: int) -> str:
    """Why a body ended before it should; empty: it did not."""
    left = iter(range(pieces, -1, -1))

    async def receive() -> Message:
        await asyncio.sleep(pause_seconds)
        return {"type": "http.request", "body": b"x", "more_body": next(left) > 0}

    state.in_flight += 1
    try:
        async for _ in body_of(Request({"type": "http", "method": "POST", "headers": []}, receive), state):
            pass
    except ImportTruncated as error:
        return error.detail
    finally:
        state.in_flight -= 1
    return ""


@pytest.mark.parametrize(("pause_seconds", "pieces"), [(60, 1), (0.001, 1 << 40)], ids=["silent", "sends on and on"])
async def test_who_has_not_sent_all_in_time_is_told(pause_seconds: float, pieces: int) -> None:
    state = a_state()
    sender = asyncio.create_task(upload(state, pause_seconds, pieces))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await drain(state)
        assert await sender == STOPPING
    assert state.senders == set()


async def test_who_sends_all_in_time_is_waited_for() -> None:
    state = a_state(drain_timeout_seconds=60)
    sender = asyncio.create_task(upload(state, 0.01, 20))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await drain(state)
        assert await sender == ""


async def test_who_came_too_slowly_just_then_hinders_no_end() -> None:
    state = a_state(import_patience_seconds=0.0)
    sender = asyncio.create_task(upload(state, 60, 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    state.leave_senders()
    assert await asyncio.wait_for(sender, 30)

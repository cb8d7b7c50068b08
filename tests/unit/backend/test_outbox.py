"""The relay: a message leaves the outbox once it is confirmed, and a broker that was away is tried again for ever."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from appstack_backend.outbox import Relay, relay_once
from appstack_backend.repository import messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Store:
    """An outbox in memory: what is taken is gone with the commit."""

    waiting: list[str]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Store]:
        before = list(self.waiting)
        try:
            yield self
        except BaseException:
            self.waiting = before
            raise

    async def forget_server(self, _: BaseException) -> None:
        pass


@dataclass
class Broker:
    """Each attempt to publish meets the next of these errors; then it is confirmed."""

    errors: list[BaseException] = field(default_factory=list)
    confirmed: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def publish(self, _queue: str, message_id: str, _body: bytes) -> None:
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.sleep(0)
        self.confirmed.put_nowait(message_id)


@pytest.fixture(autouse=True)
def _outbox_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(store: Store, most: int) -> list[dict[str, Any]]:
        taken, store.waiting = store.waiting[:most], store.waiting[most:]
        return [{"queue": "bulk", "message_id": name, "body": b""} for name in taken]

    monkeypatch.setattr(messages, "take", take)


@pytest.mark.parametrize("error", [ConnectionRefusedError("the broker"), TimeoutError(), asyncio.CancelledError()])
async def test_nothing_leaves_the_outbox_unless_all_are_confirmed(error: BaseException) -> None:
    """Also where the broker's client cancels a publication by itself, as it does when its connection breaks."""
    store: Any = Store(["a", "b", "c"])
    broker: Any = Broker([error])
    with pytest.raises(OSError):  # which one depends on the error; TimeoutError is one
        await relay_once(store, broker)
    assert store.waiting == ["a", "b", "c"]
    assert await relay_once(store, broker) == 3
    assert store.waiting == []


async def test_the_relay_goes_on_after_failures_without_being_poked() -> None:
    """In Python 3.11.2 a failed task group made its next pause its end."""
    store: Any = Store(["a", "b", "c"])
    broker: Any = Broker([ConnectionRefusedError("the broker") for _ in range(6)])
    running = asyncio.create_task(Relay(store, broker, 0.01).run())
    try:
        async with asyncio.timeout(50):
            assert {await broker.confirmed.get() for _ in "abc"} == {"a", "b", "c"}
            store.waiting.append("d")
            assert await broker.confirmed.get() == "d"
    finally:
        running.cancel()

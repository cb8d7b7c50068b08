"""How a process that is told to stop gives its Lease to the next one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator import daemons, process
from appstack_operator.client import MAY_NOT_WRITE, Api, ApiError
from appstack_operator.fence import Fence
from appstack_operator.health import Health
from appstack_operator.leadership import HEARD
from appstack_operator.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from appstack_operator.daemons import Daemons
    from appstack_operator.kinds import Ref
    from appstack_operator.objects import Object

IMAGES = {f"image_{name}": f"{name}:1" for name in ("backend", "postgres", "redis", "rabbitmq")}


class Server:
    """Keeps one Lease, and takes other writes, slowly."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.may_write: Callable[[], bool] = lambda: True
        self.is_written_to = False
        self.writes = 0

    async def get(self, ref: Ref) -> Object | None:
        return self.lease

    async def create(self, lease: Object) -> Object:
        return self.keep(lease["spec"])

    async def patch(self, ref: Ref, change: Object) -> Object:
        assert self.lease
        assert not self.is_written_to or change["spec"].get("holderIdentity", "") is not None, "given away in a write"
        return self.keep({**self.lease["spec"], **change["spec"]})

    def keep(self, spec: Object) -> Object:
        self.lease = {"metadata": {"resourceVersion": "1"}, "spec": spec}
        return self.lease

    async def write(self) -> None:
        """As the client does it; a caller that is cut off does not end what was sent."""
        if not self.may_write():
            raise ApiError(0, MAY_NOT_WRITE, "no more")
        self.is_written_to = True
        await asyncio.sleep(0.3)
        self.is_written_to = False
        self.writes += 1

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("writes", [1, 10_000], ids=["a pass that ends", "a pass without an end"])
async def test_the_lease_is_given_back_when_no_write_is_under_way(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """A write that is no longer waited for may still be carried out, beside the first ones of a successor."""
    server, has_begun = Server(), asyncio.Event()

    async def connect(may_write: Callable[[], bool] | None = None, **_: Any) -> Server:
        server.may_write = may_write or server.may_write
        return server

    async def one_pass(*_: object) -> float:
        has_begun.set()
        with suppress(ApiError):
            for _number in range(writes):
                await server.write()
        return 600.0

    async def until_told_to_stop(_api: object, kept: Daemons, _settings: Settings) -> None:
        kept.see("shop", "shop", 1)
        await has_begun.wait()

    monkeypatch.setattr(Api, "connect", connect)
    monkeypatch.setattr(process, "watch_for_ever", until_told_to_stop)
    monkeypatch.setattr(daemons, "run_pass", one_pass)
    monkeypatch.setattr(daemons, "STOP_SECONDS", 1.0)
    settings = Settings.model_validate({**IMAGES, "lease_namespace": "home", "health_port": 0, "metrics_port": 0})
    await process.live(settings, Fence(pytest.fail), Health())
    assert server.lease
    assert server.lease["spec"]["holderIdentity"] is None, "nobody waits until it has run out"
    assert 1 <= server.writes < 100


async def test_what_a_holder_has_heard_of_nodes_is_left_to_its_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, ...]] = []
    notes: list[dict[str, str]] = []

    class Keeper(Server):
        async def patch(self, ref: Ref, change: Object) -> Object:
            notes.append(change["metadata"].get("annotations", {}))
            lease = await super().patch(ref, change)
            lease["metadata"]["annotations"] = {HEARD: "node-0,node-1"}
            return lease

    class Ears:
        heard = frozenset({"node-1", "node-2"})

        def __init__(self, operator: object, heard: Iterable[str]) -> None:
            told.append(tuple(heard))

        def start(self) -> None:
            told.append(("it begins",))

        async def stop(self) -> None:
            told.append(("it ends",))

    server = Keeper()
    server.keep({"holderIdentity": None})

    async def connect(**_: Any) -> Server:
        return server

    async def until_told_to_stop(*_: object) -> None:
        assert told == [("node-0", "node-1"), ("it begins",)]

    monkeypatch.setattr(Api, "connect", connect)
    monkeypatch.setattr(process, "Lookout", Ears)
    monkeypatch.setattr(process, "watch_for_ever", until_told_to_stop)
    settings = Settings.model_validate({**IMAGES, "lease_namespace": "home", "health_port": 0, "metrics_port": 0})
    await process.live(settings, Fence(pytest.fail), Health())
    assert told[-1] == ("it ends",)
    assert notes == [{}, {HEARD: "node-1,node-2"}], "as it took the Lease, and as it gave it back"


def test_a_stop_waits_longer_than_a_write_may_take() -> None:
    assert process.TERMS.write_seconds < daemons.WRITE_SECONDS

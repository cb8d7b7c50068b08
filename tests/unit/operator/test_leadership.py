"""A candidate says that it is ready as long as it could take over, and no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator import fence as fences
from appstack_operator import leadership
from appstack_operator.client import ApiError
from appstack_operator.fence import Fence
from appstack_operator.health import Health
from appstack_operator.kinds import Ref
from appstack_operator.leadership import Leadership
from appstack_operator.lease import Terms

if TYPE_CHECKING:
    from appstack_operator.objects import Object

HELD: Object = {
    "metadata": {"name": "operator", "resourceVersion": "1"},
    "spec": {"holderIdentity": "another", "leaseDurationSeconds": 600, "renewTime": "2026-01-01T12:00:00.000000Z"},
}


class Server:
    """An API server that may be away."""

    is_away = False

    async def get(self, ref: Ref) -> Object:
        if self.is_away:
            raise ApiError(0, "", "no answer")
        return HELD


async def test_a_candidate_that_is_not_answered_for_long_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    now, server, health, terms = [1000.0], Server(), Health(), Terms()
    monkeypatch.setattr(leadership, "clock", lambda: now[0])
    candidate = Leadership(server, Ref("Lease", "home", "operator"), terms, Fence(), health)  # type: ignore[arg-type]

    async def is_ready_after(seconds: float) -> bool:
        now[0] += seconds
        assert not await candidate._attempt()
        return health.is_ready

    server.is_away = True
    assert not await is_ready_after(0), "it has not been answered yet"
    server.is_away = False
    assert await is_ready_after(1)
    server.is_away = True
    assert await is_ready_after(terms.lease_seconds), "a moment is nothing"
    assert not await is_ready_after(1)
    server.is_away = False
    assert await is_ready_after(1)


async def test_a_candidate_looks_when_the_lease_ends_and_asks_a_silent_server_no_more_often_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, server, terms = [1000.0], Server(), Terms()
    monkeypatch.setattr(leadership, "clock", lambda: now[0])
    candidate = Leadership(server, Ref("Lease", "home", "operator"), terms, Fence(), Health())  # type: ignore[arg-type]
    assert not await candidate._attempt()
    server.is_away = True
    now[0] += 600 - terms.look_every_seconds / 2
    assert candidate._pause_seconds() == pytest.approx(terms.look_every_seconds / 2)
    now[0] += terms.look_every_seconds
    assert not await candidate._attempt()
    assert candidate._pause_seconds() >= terms.look_every_seconds


class Keeper:
    """Keeps one Lease, and refuses a change of any state but the one that it is in."""

    def __init__(self) -> None:
        self.version, self.spec = 1, dict[str, Any](HELD["spec"], holderIdentity=None)
        self.notes: list[dict[str, str]] = []
        self.loses_answers = False

    async def get(self, ref: Ref) -> Object:
        notes = {"annotations": self.notes[-1]} if self.notes else {}
        meta = {"name": ref.name, "resourceVersion": str(self.version), **notes}
        return {"metadata": meta, "spec": dict(self.spec)}

    async def patch(self, ref: Ref, change: Object) -> Object:
        if change["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict", "the object has been modified")
        self.version += 1
        self.spec |= change["spec"]
        if self.loses_answers:
            raise ApiError(0, "NoAnswer", "the API server does not answer")
        self.notes += [change["metadata"]["annotations"]] if "annotations" in change["metadata"] else []
        return await self.get(ref)


@pytest.mark.parametrize("is_holder", [True, False], ids=["a renewal", "the first one"])
async def test_a_lease_is_given_back_whose_last_write_was_cut_off(*, is_holder: bool) -> None:
    """Who is told to stop in the middle of it does not hear that it was carried out; the next one waited for 13 s."""
    server = Keeper()
    holder = Leadership(server, Ref("Lease", "home", "operator"), Terms(), Fence(pytest.fail), Health())  # type: ignore[arg-type]
    if is_holder:
        await holder.acquire()
    server.version += 1
    server.spec["holderIdentity"] = holder.identity
    await holder.release()
    assert server.spec["holderIdentity"] is None


async def test_the_lease_of_another_one_is_left_alone() -> None:
    server = Keeper()
    server.spec["holderIdentity"] = "another"
    holder = Leadership(server, Ref("Lease", "home", "operator"), Terms(), Fence(pytest.fail), Health())  # type: ignore[arg-type]
    await holder.release()
    assert server.spec["holderIdentity"] == "another"


async def test_a_holder_leaves_word_of_the_nodes_that_have_answered_it() -> None:
    server = Keeper()

    def candidate() -> Leadership:
        return Leadership(server, Ref("Lease", "home", "operator"), Terms(), Fence(pytest.fail), Health())  # type: ignore[arg-type]

    holder = candidate()
    assert await holder._attempt()
    assert holder.left() == []
    heard = {"node-1", "node-0"}
    holder.heard = lambda: heard
    for _ in range(3):
        assert await holder._attempt()
    assert server.notes == [{leadership.HEARD: "node-0,node-1"}], "once, until it changes"
    heard.add("node-2")
    assert await holder._attempt()
    await holder.release()
    successor = candidate()
    assert await successor._attempt()
    assert successor.left() == ["node-0", "node-1", "node-2"]
    assert await successor._attempt()
    assert len(server.notes) == 2, "who has heard nobody yet takes nothing back"


async def test_a_renewal_that_was_carried_out_but_not_answered_costs_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """An API server that stalls for some seconds: the next renewal meets a conflict with the holder's own."""
    now, server, terms, fence = [1000.0], Keeper(), Terms(), Fence(pytest.fail)
    for module in (leadership, fences):
        monkeypatch.setattr(module, "clock", lambda: now[0])
    holder = Leadership(server, Ref("Lease", "home", "operator"), terms, fence, Health())  # type: ignore[arg-type]
    await holder.acquire()
    held_until = now[0] + terms.hold_seconds
    now[0] += terms.renew_every_seconds * (1 + leadership.JITTER)
    server.loses_answers = True
    assert not await holder._attempt()
    now[0] += terms.request_seconds + holder._pause_seconds()
    server.loses_answers = False
    while not await holder._attempt():
        now[0] += holder._pause_seconds()
        assert now[0] < held_until
    assert holder._pause_seconds() >= terms.renew_every_seconds, "from then on as ever"


async def test_a_word_too_long_for_the_lease_is_left_out() -> None:
    server = Keeper()
    holder = Leadership(server, Ref("Lease", "home", "operator"), Terms(), Fence(pytest.fail), Health())  # type: ignore[arg-type]
    holder.heard = lambda: {f"node-{number:05}" for number in range(leadership.MOST_HEARD // 11 + 2)}
    assert await holder._attempt()
    assert await holder._attempt()
    assert server.notes == []

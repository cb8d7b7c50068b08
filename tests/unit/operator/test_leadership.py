"""A candidate says that it is ready as long as it could take over, and no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appstack_operator import leadership
from appstack_operator.client import ApiError
from appstack_operator.fence import Fence
from appstack_operator.health import Health
from appstack_operator.kinds import Ref
from appstack_operator.leadership import Leadership
from appstack_operator.lease import Terms

if TYPE_CHECKING:
    import pytest

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

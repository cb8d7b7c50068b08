"""The role label moves with PostgreSQL's leader lock."""

from __future__ import annotations

from typing import Any

import pytest
import take_role
from take_role import changes


def test_the_winner_takes_the_label_off_the_loser_first() -> None:
    roles = {"shop-postgres-0": "primary", "shop-postgres-1": "replica"}
    assert changes("shop-postgres-1", roles) == [("shop-postgres-0", None), ("shop-postgres-1", "primary")]


def test_nobody_waits_for_a_winner_whose_loser_is_leaving_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planned stop: kube-proxy carries the first change out at once, and the next one up to a second later."""
    roles, written = {"shop-postgres-0": "primary", "shop-postgres-1": "replica"}, []

    def api_server(method: str, path: str, _body: object = None) -> Any:
        if path == "configmaps/shop-postgres-leader":
            return {"metadata": {"annotations": {"leader": "shop-postgres-1"}}}
        if method == "GET":
            items = [{"metadata": {"name": pod, "labels": {take_role.ROLE_LABEL: role}}} for pod, role in roles.items()]
            items[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            return {"items": items}
        written.append(path)
        return {}

    monkeypatch.setattr(take_role, "call", api_server)
    take_role.take("shop-postgres", "shop-postgres-1")
    assert written == ["pods/shop-postgres-1", "pods/shop-postgres-0"]


def test_the_loser_gets_no_other_role_for_it_may_be_dead() -> None:
    assert ("shop-postgres-0", None) in changes("shop-postgres-1", {"shop-postgres-0": "primary"})


def test_nothing_is_written_when_patroni_was_faster() -> None:
    assert changes("shop-postgres-1", {"shop-postgres-0": "replica", "shop-postgres-1": "primary"}) == []


def test_the_winner_is_labelled_although_a_member_that_is_scaled_away_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loser, winner = "shop-postgres-2", "shop-postgres-0"
    written: list[str] = []

    def api_server(method: str, path: str, _body: object = None) -> Any:
        if path == "configmaps/shop-postgres-leader":
            return {"metadata": {"annotations": {"leader": winner}}}
        if method == "GET":
            roles = {loser: "primary", winner: "replica"}
            return {
                "items": [{"metadata": {"name": pod, "labels": {take_role.ROLE_LABEL: roles[pod]}}} for pod in roles]
            }
        if path == f"pods/{loser}":
            raise OSError("403 Forbidden")
        written.append(path)
        return {}

    monkeypatch.setattr(take_role, "call", api_server)
    with pytest.raises(OSError, match="403"):
        take_role.take("shop-postgres", winner)
    assert written == [f"pods/{winner}"]

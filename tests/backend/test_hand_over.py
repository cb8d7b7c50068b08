"""preStop under a real Patroni: a primary that has to stop just after its replica came back still hands over."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.backend.kit.patroni import Member, Members
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    import pytest

    from tests.apiserver.kit.server import BareCluster

sys.path.insert(0, str(Path(__file__).parents[2] / "images" / "postgres" / "agent"))
import hand_over
import patroni_api

START_SECONDS = 180


def test_a_replica_that_is_not_synchronous_yet_is_waited_for(
    tmp_path: Path, bare_cluster: BareCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = Members(bare_cluster, f"hand-over-{uuid4().hex[:6]}")
    primary, replica = (Member(members, number, tmp_path / str(number)) for number in (0, 1))
    for name, value in primary.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patroni_api, "PORT", primary.rest_port)
    monkeypatch.setattr(hand_over, "NOTE", tmp_path / "note")
    monkeypatch.setattr(hand_over, "checkpoint", lambda: primary.execute("CHECKPOINT"))
    said: list[str] = []
    monkeypatch.setattr(hand_over, "say", said.append)
    try:
        primary.start(with_agent=False)
        wait_until(lambda: primary.states().get(primary.name) == "leader running", "a primary", START_SECONDS)
        replica.start(with_agent=False)
        met = wait_until(lambda: primary.states().get(replica.name), "another member", START_SECONDS)
        assert met is not None and not met.startswith("sync_standby")
        hand_over.main()
        assert [f'over to "{replica.name}"' in text for text in said] == [True], said
        wait_until(lambda: replica.states().get(replica.name) == "leader running", "the replica leads", START_SECONDS)
    finally:
        replica.stop()
        primary.stop()


# As the preStop runs it; Patroni's port and the way to its server are the test's own.
HAND_OVER = """
import sys
sys.path.insert(0, "/usr/local/lib/appstack")
import hand_over, patroni_api
patroni_api.PORT = int(sys.argv[1])
hand_over.checkpoint = lambda: None
hand_over.main()
"""


def test_somebody_is_in_rw_all_the_time(tmp_path: Path, bare_cluster: BareCluster) -> None:
    """An empty Service refuses one attempt a second; a stopped server each one at once."""
    members = Members(bare_cluster, f"hand-over-{uuid4().hex[:6]}")
    primary, standby = (Member(members, number, tmp_path / str(number)) for number in (0, 1))
    try:
        primary.start(with_agent=False)
        wait_until(lambda: primary.states().get(primary.name) == "leader running", "a primary", START_SECONDS)
        standby.start(with_agent=False)
        wait_until(lambda: "sync_standby" in primary.states().get(standby.name, ""), "a standby", START_SECONDS)
        wait_until(lambda: members.labelled("primary") == {primary.name}, "the label is there", START_SECONDS)
        members.end(primary.name)
        is_over = threading.Event()
        seen: list[set[str]] = []
        watcher = threading.Thread(target=lambda: note(members, seen, is_over))
        watcher.start()
        primary.run("python3", "-c", HAND_OVER, str(primary.rest_port))
        wait_until(lambda: members.labelled("primary") == {standby.name}, "the successor is alone", START_SECONDS)
        is_over.set()
        watcher.join()
        assert set() not in seen, seen
        assert {primary.name, standby.name} in seen, "the successor comes first"
    finally:
        standby.stop()
        primary.stop()


def note(members: Members, seen: list[set[str]], is_over: threading.Event) -> None:
    """Who bears the label of the primary, each time that it changes."""
    while not is_over.wait(0.01):
        if not seen or members.labelled("primary") != seen[-1]:
            seen.append(members.labelled("primary"))

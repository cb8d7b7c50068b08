"""Planned work on PostgreSQL: who takes over before a stop, and in which order members restart."""

from __future__ import annotations

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import hand_over
import patroni_api
import pytest
from hand_over import successor, wait_for_successor
from pending_restart import AGAIN_SECONDS, reasons, was_in_vain, whose_turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Changes = dict[str, tuple[str, str]]  # parameter -> its value before and after

A, B, C = "shop-postgres-0", "shop-postgres-1", "shop-postgres-2"


def member(name: str, role: str = "replica", state: str = "streaming", **more: Any) -> dict[str, Any]:
    return {"name": name, "role": role, "state": state, **more}


def test_the_synchronous_standby_that_is_least_behind_takes_over() -> None:
    members = [
        member(A, "leader", "running"),
        member(B, "quorum_standby", lag=4096),
        member(C, "quorum_standby", lag=0),
    ]
    assert successor(A, members) == C


@pytest.mark.parametrize(
    "others",
    [[], [member(B)], [member(B, "sync_standby", "starting")], [member(B, "replica", lag=0)]],
    ids=["alone", "not synchronous", "not streaming", "asynchronous"],
)
def test_nobody_takes_over_who_may_miss_a_commit(others: list[dict[str, Any]]) -> None:
    assert successor(A, [member(A, "leader", "running"), *others]) is None


def test_a_standby_of_unknown_lag_comes_last() -> None:
    members = [member(B, "quorum_standby", lag="unknown"), member(C, "quorum_standby", lag=8)]
    assert successor(A, members) == C


class Patroni:
    """This member's Patroni, which tells of the members one look after the other; the last look stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks: list[list[dict[str, Any]]] = []
        self.synchronous_mode: object = True
        self.candidates: list[str] = []
        patroni = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                looks = patroni.looks
                answer = {
                    "/patroni": {"role": "primary"},
                    "/config": {"synchronous_mode": patroni.synchronous_mode},
                    "/cluster": {"members": looks[0]},
                }[self.path]
                if self.path == "/cluster" and len(looks) > 1:
                    del looks[0]
                self.reply(answer)

            def do_POST(self) -> None:
                patroni.candidates.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["candidate"])
                self.reply("done")

            def reply(self, answer: object) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        monkeypatch.setattr(patroni_api, "PORT", self.server.server_port)

    def tell(self, *looks: list[dict[str, Any]]) -> None:
        """What it says of the others from now on."""
        self.looks = [[member(A, "leader", "running"), *others] for others in looks]

    def waits_for(self, *looks: list[dict[str, Any]], seconds: float = 60.0) -> tuple[str | None, float]:
        """Who is found, and after how long."""
        begun = time.monotonic()
        self.tell(*looks)
        return wait_for_successor(A, begun + seconds), time.monotonic() - begun


@pytest.fixture
def patroni(monkeypatch: pytest.MonkeyPatch) -> Iterator[Patroni]:
    monkeypatch.setattr(hand_over, "LOOK_SECONDS", 0.05)
    made = Patroni(monkeypatch)
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_replica_that_has_not_caught_up_yet_is_waited_for(patroni: Patroni) -> None:
    serving = member(B, state="running", api_url=f"http://127.0.0.1:{patroni.server.server_port}/patroni")
    found, seconds = patroni.waits_for([serving], [serving], [member(B)], [member(B, "sync_standby")])
    assert found == B
    assert seconds < 5
    assert patroni.waits_for([serving], seconds=0.3)[0] is None, "it is not waited for until the pod is killed"


def test_nobody_is_waited_for_who_will_not_come(
    patroni: Patroni, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = member(B, state="running", api_url=f"http://127.0.0.1:{closed_port}/patroni")
    alive = member(B, state="running", api_url=f"http://127.0.0.1:{patroni.server.server_port}/patroni")
    assert patroni.waits_for([])[1] < 5, "alone"
    monkeypatch.setattr(hand_over, "SILENT_SECONDS", 0.3)
    found, seconds = patroni.waits_for([dead])
    assert found is None
    assert 0.3 <= seconds < 5, "it does not answer"
    assert patroni.waits_for([alive], [member(C, "sync_standby")])[0] == C
    patroni.synchronous_mode = False
    found, seconds = patroni.waits_for([alive])
    assert found is None
    assert seconds < 5, "replicas are asynchronous for good"


@pytest.mark.parametrize("seconds", [0, 30], ids=["in time", "too long"])
def test_a_checkpoint_that_takes_too_long_keeps_nobody_from_taking_over(
    patroni: Patroni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    psql = tmp_path / "psql"
    psql.write_text(f"#!/bin/sh\nexec sleep {seconds}\n")
    psql.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name in ("POD_NAME", "PATRONI_RESTAPI_USERNAME", "PATRONI_RESTAPI_PASSWORD"):
        monkeypatch.setenv(name, A)
    monkeypatch.setattr(hand_over, "CHECKPOINT_SECONDS", 1)
    monkeypatch.setattr(hand_over, "NOTE", tmp_path / "note")
    patroni.tell([member(B, "sync_standby")], [member(C, "sync_standby")])
    hand_over.main()
    assert patroni.candidates == [C], "who can take over is looked at after the checkpoint"


def waiting(name: str, role: str = "replica", *, changes: Changes | None = None) -> dict[str, Any]:
    why = {key: {"old_value": old, "new_value": new} for key, (old, new) in (changes or {}).items()}
    return member(name, role, pending_restart=True, pending_restart_reason=why)


def test_replicas_restart_before_the_primary_one_after_the_other() -> None:
    more = {"max_connections": ("100", "200")}
    assert whose_turn([waiting(A, "leader", changes=more), waiting(B, changes=more), waiting(C, changes=more)]) == B
    assert whose_turn([waiting(A, "leader", changes=more), member(B), waiting(C, changes=more)]) == C
    assert whose_turn([waiting(A, "leader", changes=more), member(B), member(C)]) == A


def test_nobody_restarts_while_another_one_is_not_well() -> None:
    assert whose_turn([waiting(A, "leader"), waiting(B), member(C, state="starting")]) is None


def test_a_lower_limit_reaches_the_primary_first_for_no_replica_may_have_less() -> None:
    less = {"max_connections": ("200", "100")}
    assert whose_turn([waiting(A, "leader", changes=less), waiting(B, changes=less)]) == A
    assert whose_turn([member(A, "leader"), waiting(B, changes=less)]) == B


def test_other_settings_may_go_down_on_a_replica() -> None:
    less = {"shared_buffers": ("32768", "16384")}
    assert whose_turn([waiting(A, "leader", changes=less), waiting(B, changes=less)]) == B


def test_at_rest_nobody_restarts() -> None:
    assert whose_turn([member(A, "leader"), member(B)]) is None


def test_a_restart_that_brought_nothing_is_not_repeated_but_by_a_replica_that_was_too_early() -> None:
    higher, lower = {"max_connections": ("100", "200")}, {"max_connections": ("200", "100")}
    for role, change, is_tried_again in (
        ("replica", lower, True),
        ("replica", higher, False),
        ("leader", lower, False),
        ("replica", {**lower, "shared_buffers": ("2", "1")}, False),
    ):
        found = waiting(A, role, changes=change)
        assert not was_in_vain(found, {}, 0.0), "the first time"
        assert was_in_vain(found, reasons(found), 0.0)
        assert was_in_vain(found, reasons(found), AGAIN_SECONDS) is not is_tried_again, (role, change)

"""Ports for the servers of the tests: two processes that share the tests never get the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.backend.kit.rootfs import free_port

if TYPE_CHECKING:
    import pytest


def test_processes_that_share_the_tests_have_ports_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever got one may bind it only seconds later: until then it looks free to everybody."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    rests = []
    for worker in ("gw0", "gw1"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        rests.append({free_port() % 2 for _ in range(50)})
    assert rests == [{0}, {1}]


def test_one_process_alone_has_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    assert {free_port() % 2 for _ in range(50)} == {0, 1}

"""Shares the tests among processes: those that use the same servers, or the machine's network, stay together."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

# One three-node cluster for these, and the lab's own tests look at the links, mounts and tables of the whole machine.
MACHINE = ("tests/lab/", "tests/cluster/", "tests/chaos/")
BACKEND = ("tests/backend/",)


def room_of(nodeid: str) -> str:
    """The tests of a room run one after the other in one process.

    A file is a room by itself where it needs no server, or an API server alone: each process has its own.
    """
    for room in (MACHINE, BACKEND):
        if nodeid.startswith(room):
            return room[0]
    return nodeid.partition("::")[0]


class Rooms(LoadScopeScheduling):  # type: ignore[misc]  # the library has no types
    """Gives each process that is free the next room, in the order in which the rooms were asked for."""

    def _split_scope(self, nodeid: str) -> str:
        return room_of(nodeid)

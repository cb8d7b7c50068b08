#!/usr/bin/python3
"""Patroni, with one rule changed: who does not know whether the lock was renewed asks the members, and does not demote.

A slow API server (etcd elects a leader, a disk stalls) carries out a renewal and answers it too late. Patroni asks once
more, meets a conflict with its own first request, and where `retry_timeout` leaves no second to look who holds the
lock, it stops a healthy primary at once (patroni/patroni#3035). Of a store that does not answer at all it thinks
better: with failsafe mode it goes on while every member agrees. Here that decides too.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from patroni.__main__ import main
from patroni.dcs.kubernetes import Kubernetes, KubernetesError

Renewal = Callable[[Kubernetes, dict[str, Any], str | None, list[str]], bool]


def holder(annotations: Mapping[str, str] | None) -> str | None:
    """Who holds the lock, by the notes of its ConfigMap."""
    return (annotations or {}).get("leader")


def that_knows_when_it_failed(renew: Renewal) -> Renewal:
    """A renewal that is False only where another one holds the lock, as the watch last told, and an error elsewhere."""

    def renewed(dcs: Kubernetes, annotations: dict[str, Any], version: str | None, ips: list[str]) -> bool:
        if renew(dcs, annotations, version, ips):
            return True
        lock = dcs._kinds.get(dcs.leader_path)
        if lock is None or holder(lock.metadata.annotations) != dcs._name:
            return False
        raise KubernetesError("nobody knows whether the lock was renewed")

    return renewed


# Not below: as a pod's first process Patroni works in a child, which imports this module where it is not a mere fork.
Kubernetes._update_leader_with_retry = that_knows_when_it_failed(Kubernetes._update_leader_with_retry)

if __name__ == "__main__":
    sys.exit(main())

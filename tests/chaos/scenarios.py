"""The rows of the scorecard: each says what is broken, for how long, who runs meanwhile, and what is aimed at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import faults
from tests.chaos.site import Site, Victim

Strike = Callable[[Site, Victim], Any]

# Aims, in seconds without an acknowledged write.
PLANNED, KILLED = 2.0, 4.0
# Freeze, node loss, partition. PostgreSQL: with the early failover; 25 where it needs an operator that is not there.
POSTGRES_GONE, POSTGRES_GONE_ALONE, REDIS_GONE, RABBITMQ_GONE, RABBITMQ_POD = 8.0, 25.0, 6.0, 10.0, 1.0
# Whose data and whose service a fault does not touch should not feel it; a client's own rhythm and a slow answer fit.
UNTOUCHED = 2.0
SERVICES = ("postgres", "redis", "rabbitmq", "api")


@dataclass(frozen=True)
class Scenario:
    """One fault."""

    name: str  # the word for ROWS=…
    fault: str
    service: str  # whose member is the victim; "postgres" for nodes: the primary's node
    role: str
    strike: Strike
    aims: dict[str, float] = field(default_factory=dict)  # service -> seconds; others are held to UNTOUCHED
    hold_seconds: float = 0.0  # until it is mended, where somebody must mend it
    watch_seconds: float = 20.0
    operator: str = "alive"
    has_isolated: bool = False  # clients inside the cut-off node
    follower: bool = False  # the victim is no leader
    together: bool = False  # first bring PostgreSQL's primary and Redis' master onto one node
    tenfold: bool = False
    zero_failed: bool = False  # no request of a user may fail
    is_core: bool = False
    spec: dict[str, Any] = field(default_factory=dict)  # the stack's spec meanwhile, as a merge patch ...
    spec_before: dict[str, Any] = field(default_factory=dict)  # ... and the patch that takes it back
    is_control: bool = False  # no row: the harness has to find what is lost

    def aim(self, service: str) -> float:
        """Seconds without an acknowledged write that are allowed to a service."""
        return self.aims.get(service, UNTOUCHED)


def pod_faults(service: str, role: str, *, graceful: float, killed: float, frozen: float) -> list[Scenario]:
    """What can befall a pod that leads."""
    component = service
    aims = {"graceful": graceful, "killed": killed, "frozen": frozen}
    of_user = {"postgres": aims}.get(service)  # the API's writes wait for PostgreSQL

    def made(name: str, fault: str, strike: Strike, kind: str, **more: Any) -> Scenario:
        allowed = {service: aims[kind], **({"api": of_user[kind]} if of_user else {})}
        return Scenario(f"{service}-{role}-{name}", fault, service, role, strike, allowed, **more)

    held = {"hold_seconds": 30.0, "watch_seconds": 40.0}
    return [
        made("deleted", "pod deleted", faults.delete, "graceful", is_core=True),
        made("no-grace", "pod deleted with no grace", faults.delete_without_grace, "killed"),
        made("sigkill", "server process SIGKILLed", faults.kill_server(component), "killed", is_core=True),
        made("frozen", "whole pod SIGSTOPped for 30 s", faults.freeze_pod, "frozen", is_core=True, **held),
        made("frozen-server", "server alone SIGSTOPped for 30 s", faults.freeze_server(component), "frozen", **held),
    ]


GONE = {"postgres": POSTGRES_GONE, "redis": REDIS_GONE, "rabbitmq": RABBITMQ_GONE, "api": RABBITMQ_GONE}
GONE_ALONE = {**GONE, "postgres": POSTGRES_GONE_ALONE, "api": POSTGRES_GONE_ALONE}
ROLLED = {"postgres": PLANNED, "redis": PLANNED, "rabbitmq": PLANNED, "api": PLANNED}


def node_faults() -> list[Scenario]:
    """What can befall the node of PostgreSQL's primary, or another one."""
    cut = {"hold_seconds": 45.0, "watch_seconds": 60.0}

    def made(name: str, fault: str, strike: Strike, aims: dict[str, float] = GONE, **more: Any) -> Scenario:
        role = more.pop("role", "node of the primary")
        return Scenario(name, fault, "postgres", role, strike, aims, **{**cut, **more})

    both, into, outof = faults.partition(), faults.partition("in"), faults.partition("out")
    return [
        made("node-cut", "node cut off for 45 s", both, has_isolated=True, is_core=True),
        made("node-cut-in", "node cannot be reached for 45 s", into, has_isolated=True),
        made("node-cut-out", "node cannot send for 45 s", outof, has_isolated=True),
        made("node-cut-replica", "node cut off for 45 s", both, follower=True, role="node of the replica"),
        made("node-cut-no-operator", "node cut off for 45 s", both, GONE_ALONE, operator="absent", has_isolated=True),
        made(
            "node-cut-with-operator",
            "node cut off for 45 s",
            both,
            GONE_ALONE,
            operator="on the lost node",
            has_isolated=True,
        ),
        made("node-crashed", "node crashed, restarted after 45 s", faults.crash, is_core=True),
        made(
            "node-crashed-no-operator",
            "node crashed, restarted after 45 s",
            faults.crash,
            GONE_ALONE,
            operator="absent",
        ),
        made(
            "node-crashed-two",
            "node crashed, restarted after 45 s",
            faults.crash,
            role="node of the primary and of Redis' master",
            together=True,
            is_core=True,
        ),
        made("node-drained", "node drained", faults.drain, ROLLED, hold_seconds=30.0, is_core=True),
        made(
            "control-asynchronous",
            "node cut off for 45 s, synchronous replication off",
            both,
            has_isolated=True,
            spec={"postgres": {"synchronousReplication": "Off"}},
            spec_before={"postgres": {"synchronousReplication": "Preferred"}},
            is_control=True,
        ),
        made("tenfold", "node cut off for 45 s while the load grows tenfold", both, tenfold=True),
    ]


def other_faults() -> list[Scenario]:
    """What befalls the cluster, followers, and what is done on purpose."""
    minute = {"hold_seconds": 60.0, "watch_seconds": 70.0}
    half = {"hold_seconds": 30.0, "watch_seconds": 40.0}

    def made(name: str, fault: str, service: str, role: str, strike: Strike, **more: Any) -> Scenario:
        return Scenario(name, fault, service, role, strike, **more)

    roll = {"aims": ROLLED, "watch_seconds": 30.0}
    kill, stop = faults.delete_without_grace, faults.kill_server("postgres")
    upgrade = faults.upgrade
    return [
        made("api-server-down", "API server down for 60 s", "api", "control plane", faults.stop_api_server,
             is_core=True, **minute),
        made("dns-down", "name servers SIGSTOPped for 30 s", "api", "name servers", faults.freeze_dns, **half),
        made("disk-full", "disk of the node full for 30 s", "postgres", "primary", faults.fill_disk, aims=GONE, **half),
        made("postgres-replica-sigkill", "server process SIGKILLed", "postgres", "replica", stop,
             follower=True, aims={"postgres": KILLED, "api": KILLED}),
        made("api-pod-no-grace", "pod deleted with no grace", "api", "pod", kill),
        made("worker-no-grace", "pod deleted with no grace", "worker-bulk", "worker", kill),
        made("sentinel-no-grace", "pod deleted with no grace", "redis-sentinel", "Sentinel", kill),
        made("upgrade-backend", "rolling upgrade", "api", "backend, all pods", upgrade("backend"),
             zero_failed=True, is_core=True, **roll),
        made("upgrade-postgres", "rolling upgrade", "postgres", "all pods", upgrade("postgres"), **roll),
        made("upgrade-redis", "rolling upgrade", "redis", "all pods", upgrade("redis"), **roll),
        made("upgrade-rabbitmq", "rolling upgrade", "rabbitmq", "all pods", upgrade("rabbitmq"), **roll),
    ]  # fmt: skip


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        *pod_faults("postgres", "primary", graceful=PLANNED, killed=KILLED, frozen=POSTGRES_GONE),
        *pod_faults("redis", "master", graceful=PLANNED, killed=KILLED, frozen=REDIS_GONE),
        *pod_faults("rabbitmq", "leader", graceful=RABBITMQ_POD, killed=RABBITMQ_POD, frozen=RABBITMQ_GONE),
        *node_faults(),
        *other_faults(),
    )
}
CORE = [name for name, scenario in SCENARIOS.items() if scenario.is_core]

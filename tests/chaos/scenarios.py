"""The rows of the scorecard: each says what is broken, for how long, who runs meanwhile, and what is aimed at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import faults
from tests.chaos.site import Site, Victim

Strike = Callable[[Site, Victim], Any]

# Aims, in seconds without an acknowledged write.
PLANNED, KILLED = 2.0, 4.0
# Freeze, node loss, partition. PostgreSQL's early failover is the agents', and needs no operator.
POSTGRES_GONE, REDIS_GONE, RABBITMQ_GONE, RABBITMQ_POD = 8.0, 6.0, 10.0, 1.0
POSTGRES_EXPIRED = 25.0  # with two standbys recorded nobody releases the lock of a lost primary early
# Who watched an API server that was away looks again after 30 s, and as much again by chance, at most: client-go's
# reflectors. Until then a kube-proxy does not know of changes.
WATCHERS_SECONDS = 60.0
# Whose data and whose service a fault does not touch should not feel it; a client's own rhythm and a slow answer fit.
UNTOUCHED = 2.0
SERVICES = ("postgres", "redis", "rabbitmq", "api")
POOLED: dict[str, Any] = {"postgres": {"pooler": {"enabled": True}}}


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
    rest_seconds: float = 0.0  # afterwards, before anything else is measured
    operator: str = "alive"
    isolated: tuple[str, ...] = ()  # services that have clients inside the cut-off node
    is_planned: bool = False  # nobody fails: what was acknowledged has to be there
    follower: bool = False  # the victim is no leader
    together: bool = False  # first bring PostgreSQL's primary and Redis' master onto one node ...
    apart: bool = False  # ... or Redis' master off the victim's: where it happens to be would decide a row's figures
    is_of_node: bool = False  # what befalls a node
    tenfold: bool = False
    needs_limited_volumes: bool = False
    zero_failed: bool = False  # no request of a user may fail
    is_core: bool = False
    spec: dict[str, Any] = field(default_factory=dict)  # the stack's spec meanwhile, as a merge patch
    is_control: bool = False  # no row: the harness has to find what is lost

    @property
    def is_of_two(self) -> bool:
        """Whether two leaders fail at once: reads over the API survive any single fault, and need not survive this."""
        return self.together and not self.is_planned

    @property
    def is_pooled(self) -> bool:
        """Whether the clients of PostgreSQL's primary come through the pooler, as the API does then."""
        return self.spec == POOLED

    @property
    def spares_operator(self) -> bool:
        """Whether the operator that leads is brought off the victim's node: on it, it would be another row."""
        return self.is_of_node and self.operator == "alive"

    def aim(self, service: str) -> float:
        """Seconds without an acknowledged write that are allowed to a service."""
        return self.aims.get(service, UNTOUCHED)


def pod_faults(
    name: str,
    service: str,
    role: str,
    aims: Mapping[str, Mapping[str, float]],
    *,
    is_managed: bool = True,
    core: Collection[str] = (),
    **more: Any,
) -> list[Scenario]:
    """What can befall a pod; `aims`: service -> graceful, killed, frozen. Managed: some other process lives on."""

    def made(fault: str, words: str, strike: Strike, kind: str, **how: Any) -> Scenario:
        allowed = {each: aim[kind] for each, aim in aims.items()}
        return Scenario(f"{name}-{fault}", words, service, role, strike, allowed, is_core=fault in core, **how, **more)

    held = {"hold_seconds": 30.0, "watch_seconds": 40.0}
    server = made("frozen-server", "server alone SIGSTOPped for 30 s", faults.freeze_server(service), "frozen", **held)
    return [
        made("deleted", "pod deleted", faults.delete, "graceful", is_planned=True),
        made("no-grace", "pod deleted with no grace", faults.delete_without_grace, "killed"),
        made("sigkill", "server process SIGKILLed", faults.kill_server(service), "killed"),
        made("frozen", "whole pod SIGSTOPped for 30 s", faults.freeze_pod, "frozen", **held),
        *([server] if is_managed else []),
    ]


def aims_of(graceful: float, killed: float, frozen: float) -> dict[str, float]:
    return {"graceful": graceful, "killed": killed, "frozen": frozen}


def roles() -> list[Scenario]:
    """Each role of each service; a follower's loss is felt where a write waits for it."""
    sql = aims_of(PLANNED, KILLED, POSTGRES_GONE)
    of_postgres = {"postgres": sql, "api": sql}  # the API's writes wait for PostgreSQL
    of_redis = {"redis": aims_of(PLANNED, KILLED, REDIS_GONE)}
    of_rabbitmq = {"rabbitmq": aims_of(RABBITMQ_POD, RABBITMQ_POD, RABBITMQ_GONE)}
    core = ("deleted", "sigkill", "frozen")
    alone: dict[str, Any] = {"aims": {}, "is_managed": False}  # the server is all that runs there
    return [
        *pod_faults("postgres-primary", "postgres", "primary", of_postgres, core=core),
        *pod_faults("redis-master", "redis", "master", of_redis, core=core),
        *pod_faults("rabbitmq-leader", "rabbitmq", "leader", of_rabbitmq, core=core),
        *pod_faults("postgres-replica", "postgres", "replica", of_postgres, follower=True),
        *pod_faults("redis-replica", "redis", "replica of Redis", {}, follower=True),
        *pod_faults("rabbitmq-follower", "rabbitmq", "follower", of_rabbitmq, follower=True),
        *pod_faults("sentinel", "redis-sentinel", "Sentinel", {}),  # beside it: the agent `roles`, which asks it
        *pod_faults("api-pod", "api", "API pod", **alone),
        *pod_faults("worker", "worker-bulk", "worker", **alone),
        *pod_faults("pooler", "postgres-pooler", "pooler", of_postgres, is_managed=False, spec=POOLED),
        *(one for one in pod_faults("pooled-primary", "postgres", "primary, behind a pooler", of_postgres, spec=POOLED)
          if one.name in ("pooled-primary-deleted", "pooled-primary-frozen")),
    ]  # fmt: skip


GONE = {"postgres": POSTGRES_GONE, "redis": REDIS_GONE, "rabbitmq": RABBITMQ_GONE, "api": RABBITMQ_GONE}
ROLLED = {"postgres": PLANNED, "redis": PLANNED, "rabbitmq": RABBITMQ_POD, "api": PLANNED}


INSIDE = ("postgres", "rabbitmq")  # each node has a pod of theirs; Redis' master is where it is brought to
OPERATORS = {"": "alive", "-no-operator": "absent", "-with-operator": "on the lost node"}


def node_faults() -> list[Scenario]:
    """What can befall the node of PostgreSQL's primary, or another one; with the operator, without, and with both."""

    def made(name: str, fault: str, strike: Strike, *, role: str = "node of the primary", **more: Any) -> Scenario:
        given = {"aims": GONE, "hold_seconds": 45.0, "watch_seconds": 60.0, "role": role, "apart": True, **more}
        return Scenario(name, fault, "postgres", strike=strike, is_of_node=True, **given)

    def each(name: str, *words: Any, is_core: bool = False, **more: Any) -> list[Scenario]:
        """A fault, once for each place of the operator; only with a living one it is of the core."""
        return [
            made(name + suffix, *words, operator=operator, is_core=is_core and not suffix, **more)
            for suffix, operator in OPERATORS.items()
        ]

    cuts = {
        "": ("node cut off for 45 s", faults.partition()),
        "-in": ("node cannot be reached for 45 s", faults.partition("in")),
        "-out": ("node cannot send for 45 s", faults.partition("out")),
    }
    crash = ("node crashed, restarted after 45 s", faults.crash)
    both: dict[str, Any] = {"role": "node of the primary and of Redis' master", "together": True, "apart": False}
    planned: dict[str, Any] = {"aims": ROLLED, "hold_seconds": 30.0, "is_planned": True}
    return [
        *(one for way, cut in cuts.items() for one in each(f"node-cut{way}", *cut, isolated=INSIDE, is_core=not way)),
        *each("node-cut-two", *cuts[""], **both, isolated=(*INSIDE, "redis"), is_core=True),
        *(one for way, cut in cuts.items() for one in each(
            f"node-cut-replica{way}", *cut, follower=True, role="node of the replica")),
        *each("node-crashed", *crash, is_core=True),
        *each("node-crashed-two", *crash, **both),
        *each("node-drained", "node drained", faults.drain, **both, **planned, is_core=True),
        made("nodes-drained", "two nodes drained, one after the other", faults.drain_replica_first, **planned,
             role="nodes of the replica and the primary", apart=False),
        made("tenfold", "node cut off for 45 s while the load grows tenfold", faults.partition(), tenfold=True),
        made(
            "node-cut-three", *cuts[""], role="node of the primary of three", isolated=INSIDE,
            aims={**GONE, "postgres": POSTGRES_EXPIRED, "api": POSTGRES_EXPIRED},
            spec={"postgres": {"instances": 3}},
        ),
        made(
            "control-asynchronous", "node cut off for 45 s, synchronous replication off", faults.partition(),
            isolated=INSIDE, is_control=True,
            spec={"postgres": {"synchronousReplication": "Off"}},
        ),
    ]  # fmt: skip


def other_faults() -> list[Scenario]:
    """What befalls the cluster, followers, and what is done on purpose."""
    minute = {"hold_seconds": 60.0, "watch_seconds": 70.0}
    half = {"hold_seconds": 30.0, "watch_seconds": 40.0}

    def made(name: str, fault: str, service: str, role: str, strike: Strike, **more: Any) -> Scenario:
        return Scenario(name, fault, service, role, strike, **more)

    roll = {"aims": {**ROLLED, "rabbitmq": UNTOUCHED}, "watch_seconds": 30.0, "is_planned": True}
    upgrade = faults.upgrade
    return [
        made("api-server-down", "API server down for 60 s", "api", "control plane", faults.stop_api_server,
             is_core=True, rest_seconds=WATCHERS_SECONDS, **minute),
        made("dns-down", "name servers SIGSTOPped for 30 s", "api", "name servers", faults.freeze_dns, **half),
        made("disk-full", "disk of the node full for 30 s", "postgres", "node of the primary, every volume on it",
             faults.fill_disk, aims=GONE, needs_limited_volumes=True, **half),
        made("upgrade-backend", "rolling upgrade", "api", "backend, all pods", upgrade("backend"),
             zero_failed=True, is_core=True, **roll),
        made("upgrade-postgres", "rolling upgrade", "postgres", "PostgreSQL, all pods", upgrade("postgres"), **roll),
        made("postgres-resized", "resources changed", "postgres", "PostgreSQL, all pods", faults.resize_postgres,
             **roll),
        made("upgrade-redis", "rolling upgrade", "redis", "Redis, all pods", upgrade("redis"), **roll),
        made("upgrade-operator", "rolling upgrade", "api", "operator, all pods", faults.upgrade_operator,
             zero_failed=True, **{**roll, "aims": {}}),
        made("upgrade-rabbitmq", "rolling upgrade", "rabbitmq", "RabbitMQ, all pods", upgrade("rabbitmq"),
             **{**roll, "aims": ROLLED}),
    ]  # fmt: skip


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        *roles(),
        *node_faults(),
        *other_faults(),
    )
}
CORE = [name for name, scenario in SCENARIOS.items() if scenario.is_core]

"""What one pass saw: Kubernetes objects and the answers of the services. Frozen, no IO."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from appstack_operator.objects import Object, component_of

EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the answers of all services have in common."""

    error: str = ""  # why there is none
    is_late: bool = False  # it was waited for in vain; nobody was found to be away
    age_seconds: float = 0.0  # above 0: the last good answer, in the place of one that is late


@dataclass(frozen=True, slots=True)
class PostgresMember(Answer):
    """What one instance answers on Patroni's REST API; `error` alone when it does not answer."""

    pod: str
    role: str = ""  # primary, replica, sync_standby, ...
    state: str = ""  # running, streaming, starting, ...
    timeline: int | None = None
    lag_bytes: int | None = None  # replicas: behind the primary
    is_sync: bool = False  # holds every acknowledged commit
    pending_restart: bool = False  # a changed parameter waits for a restart


@dataclass(frozen=True, slots=True)
class PostgresAnswers:
    """The answers of all instances."""

    members: tuple[PostgresMember, ...] = ()

    @property
    def primary(self) -> PostgresMember | None:
        """The member that says it is primary, if exactly one does."""
        primaries = [member for member in self.members if member.role == "primary"]
        return primaries[0] if len(primaries) == 1 else None


@dataclass(frozen=True, slots=True)
class SentinelAnswer(Answer):
    """What one Sentinel says about the stack's master; `error` alone when it does not answer."""

    pod: str
    master: str = ""  # name of the pod (or its address, where no pod is known by it)
    has_quorum: bool = False  # SENTINEL CKQUORUM
    replicas: int = 0
    other_sentinels: int = 0
    flags: str = ""  # of the master: s_down, o_down, ...


@dataclass(frozen=True, slots=True)
class RedisInstance(Answer):
    """What one Redis answers to INFO replication and persistence; `error` alone when it does not answer."""

    pod: str
    role: str = ""  # master, slave
    link_up: bool = False  # replicas: linked to their master
    lag_bytes: int | None = None
    good_replicas: int = 0  # of a master: those that follow closely enough for it to take writes
    takes_writes_alone: bool = False  # of a master: it asks for no replica
    disk_fails: bool = False  # its append-only file cannot be written


@dataclass(frozen=True, slots=True)
class RedisAnswers:
    """The answers of all Sentinels and instances."""

    sentinels: tuple[SentinelAnswer, ...] = ()
    instances: tuple[RedisInstance, ...] = ()

    @property
    def master(self) -> str | None:
        """The pod that all answering Sentinels name, if they agree."""
        masters = {answer.master for answer in self.sentinels if not answer.error}
        return masters.pop() if len(masters) == 1 else None


@dataclass(frozen=True, slots=True)
class RabbitmqNode:
    """One node: what the largest side of the cluster says of it, and what it says itself."""

    name: str  # rabbit@shop-rabbitmq-0...
    pod: str
    is_running: bool = False
    partitions: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()  # memory, disk
    counts: tuple[str, ...] | None = None  # the nodes that run, by its own word; None: it does not answer


@dataclass(frozen=True, slots=True)
class RabbitmqAnswers(Answer):
    """The answer of the cluster; `error` alone when no node answers."""

    nodes: tuple[RabbitmqNode, ...] = ()
    # Queue -> ready + unacknowledged messages; None while it has no leader. Queues that do not exist are absent.
    backlog: Mapping[str, int | None] = field(default_factory=dict)
    in_hand: Mapping[str, int] = field(default_factory=dict)  # queue -> unacknowledged messages alone, 0 where absent
    backlog_error: str = ""  # the nodes are known, and not how much waits: a queue's leader may have just been lost
    # Queues whose length was known a moment ago, "" for all of them: a new leader is being elected, it seems.
    electing: frozenset[str] = frozenset()
    is_external: bool = False  # somebody else's broker: its queues are known, its nodes are not ours to judge

    def waiting_in(self, queues: Iterable[str]) -> int | None:
        """Ready + unacknowledged messages of some queues together; None while one of them has no leader."""
        lengths = [self.backlog.get(queue, 0) for queue in queues]
        known = [length for length in lengths if length is not None]
        return sum(known) if len(known) == len(lengths) else None

    @property
    def knows_backlog(self) -> bool:
        """Whether a queue that is not in `backlog` is an empty one."""
        return not self.error and not self.backlog_error and (self.is_external or bool(self.nodes))


@dataclass(frozen=True, slots=True)
class ExternalAnswer:
    """What a service of somebody else answers to the operator; no error: it can be used."""

    error: str = ""  # key, address and cause
    is_refused: bool = False  # it answers, and does not let this user in
    reads_error: str = ""  # only the address for reads does not answer


@dataclass(frozen=True, slots=True)
class Node:
    """What of a node of the cluster tells whether a pod may go there."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Object] = ()
    is_open: bool = True  # ready, and not cordoned


@dataclass(frozen=True, slots=True)
class Observed:
    """One consistent look at a stack: every list is uncached and by the stack's label."""

    objects: Mapping[str, Mapping[str, Object]] = field(default_factory=dict)  # kind -> name -> object
    unknown_kinds: frozenset[str] = frozenset()  # optional ones that the cluster does not serve
    postgres: PostgresAnswers = PostgresAnswers()
    redis: RedisAnswers = RedisAnswers()
    rabbitmq: RabbitmqAnswers = RabbitmqAnswers()
    # Component -> the decoded data of its external Secret; None where that Secret is missing.
    external: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict)
    # Component -> what that service answers.
    external_answers: Mapping[str, ExternalAnswer] = field(default_factory=dict)
    # (kind, name) -> when what counts of it was changed last: see moments.py.
    moments: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    # (kind, name) of what waits for a cause -> the events about it.
    events: Mapping[tuple[str, str], Sequence[Object]] = field(default_factory=dict)
    # (kind, name) -> the content of what the user's env and envFrom name; None where that is missing.
    references: Mapping[tuple[str, str], Mapping[str, str] | None] = field(default_factory=dict)
    # Claims of others that bear the names of claims to come -> the component that would take over what is on them.
    foreign_claims: Mapping[str, str] = field(default_factory=dict)
    # The cluster's nodes, read only while a pod that shares one may be moved.
    nodes: Sequence[Node] = ()
    are_nodes_hidden: bool = False  # they were asked for, and the operator may not list them
    now: datetime = EVER

    @property
    def spec_changed(self) -> datetime:
        """When the stack's own spec was changed last; the beginning of all time where that is not known."""
        return max((at for (kind, _), at in self.moments.items() if kind == "AppStack"), default=EVER)

    @property
    def is_heard_late(self) -> bool:
        """Whether somebody who was asked let the question run into its time."""
        asked = (*self.postgres.members, *self.redis.sentinels, *self.redis.instances, self.rabbitmq)
        return any(answer.error and answer.is_late for answer in asked)

    def get(self, kind: str, name: str) -> Object | None:
        """An object of the stack, or None."""
        return self.objects.get(kind, {}).get(name)

    def of_kind(self, kind: str, component: str | None = None) -> list[Object]:
        """All objects of a kind, of one component if named, ordered by name."""
        by_name = self.objects.get(kind, {})
        found = [by_name[name] for name in sorted(by_name)]
        return found if component is None else [obj for obj in found if component_of(obj) == component]

    def pods(self, component: str) -> list[Object]:
        """The pods of a component, ordered by name."""
        return self.of_kind("Pod", component)

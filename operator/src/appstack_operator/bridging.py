"""One answer that comes too late is not silence yet: the last good one stands in, once and not for long. Pure.

Where none is young enough to stand in (services that are well are asked rarely), whoever looks asks once more. Only
lateness is bridged. A refused connection says that nobody is there, and counts at once. A queue between two leaders has
no length for a second or two: nothing stands in for that, and nobody is alarmed yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from appstack_operator.observed import (
    Answer,
    Observed,
    PostgresAnswers,
    PostgresMember,
    RabbitmqAnswers,
    RedisAnswers,
    SentinelAnswer,
)

LONGEST_SECONDS = 10.0
A = TypeVar("A", bound=Answer)
Place = tuple[str, str]  # what answers, and the uid of its pod: a new pod of that name is somebody else


@dataclass(frozen=True, slots=True)
class Known:
    """The last good answer, and whether it has stood in for a late one already."""

    answer: Answer
    at_seconds: float
    is_spent: bool = False


def bridge(answer: A, known: Known | None, now_seconds: float) -> tuple[A, Known | None]:
    """What counts as the answer, and what to remember: a second silence in a row is silence."""
    if not answer.error:
        return answer, Known(answer, now_seconds)
    if known is None or known.is_spent or not answer.is_late or not isinstance(known.answer, type(answer)):
        return answer, None
    age_seconds = now_seconds - known.at_seconds
    if age_seconds > LONGEST_SECONDS:
        return answer, None
    return replace(known.answer, age_seconds=age_seconds), replace(known, is_spent=True)


@dataclass(slots=True)
class AnswerMemory:
    """The last good answers of one stack's services. Lost with a restart: then whoever looks asks once more."""

    known: dict[Place, Known] = field(default_factory=dict)
    late: set[Place] = field(default_factory=set)  # who let the last question run into its time, bridged or not
    asks_again: bool = False  # somebody did for the first time, and nothing stood in
    # Queue ("": all of them) -> since when its length is not told; None while it is. What was never told is absent.
    untold_since: dict[str, float | None] = field(default_factory=dict)

    def bridged(self, seen: Observed, now_seconds: float) -> Observed:
        """What was seen, with the last good answer in the place of a first late one."""
        uids = {pod["metadata"]["name"]: str(pod["metadata"]["uid"]) for pod in seen.of_kind("Pod")}
        before, self.known = self.known, {}
        late_before, self.late, self.asks_again = self.late, set(), False

        def of_pod(answer: A, what: str, pod: str) -> A:
            place = (what, uids.get(pod, ""))
            counts, known = bridge(answer, before.get(place), now_seconds)
            if known:
                self.known[place] = known
            if answer.is_late:
                self.late.add(place)
                self.asks_again |= counts is answer and place not in late_before
            return counts

        members = tuple(of_pod(each, "patroni", each.pod) for each in seen.postgres.members)
        sentinels = tuple(of_pod(each, "sentinel", each.pod) for each in seen.redis.sentinels)
        instances = tuple(of_pod(each, "redis", each.pod) for each in seen.redis.instances)
        broker = of_pod(seen.rabbitmq, "rabbitmq", "") if seen.rabbitmq != RabbitmqAnswers() else seen.rabbitmq
        return replace(
            seen,
            postgres=PostgresAnswers(undisputed_members(members, seen.postgres.members)),
            redis=RedisAnswers(undisputed_sentinels(sentinels, seen.redis.sentinels), instances),
            rabbitmq=replace(broker, electing=self.electing(broker, now_seconds)),
        )

    def electing(self, broker: RabbitmqAnswers, now_seconds: float) -> frozenset[str]:
        """The queues of which no length is told since a moment; of all others its absence counts."""
        if broker.error or broker == RabbitmqAnswers():
            return frozenset()
        before = self.untold_since
        lengths = {**broker.backlog, "": None if broker.backlog_error else 0}
        told = {queue: None for queue, length in lengths.items() if length is not None}
        untold = {
            queue: now_seconds if before[queue] is None else before[queue]
            for queue, length in lengths.items()
            if length is None and queue in before
        }
        self.untold_since = {**(before if broker.backlog_error else {}), **told, **untold}
        return frozenset(
            queue for queue, since in untold.items() if since is not None and now_seconds - since <= LONGEST_SECONDS
        )


def undisputed_members(
    bridged: Sequence[PostgresMember], fresh: Sequence[PostgresMember]
) -> tuple[PostgresMember, ...]:
    """A former primary does not stand in where another one has spoken meanwhile."""
    is_led = any(member.role == "primary" for member in fresh)
    return tuple(
        now if is_led and old.age_seconds and old.role == "primary" else old
        for old, now in zip(bridged, fresh, strict=True)
    )


def undisputed_sentinels(
    bridged: Sequence[SentinelAnswer], fresh: Sequence[SentinelAnswer]
) -> tuple[SentinelAnswer, ...]:
    """A former word about the master does not stand against what others say now."""
    masters = {answer.master for answer in fresh if not answer.error}
    return tuple(
        now if masters and old.age_seconds and old.master not in masters else old
        for old, now in zip(bridged, fresh, strict=True)
    )

"""Is Redis well? An ordered chain of small checks: the first verdict is what the SRE reads. Pure."""

from appstack_operator.api import AppStack
from appstack_operator.assess.reach import pods_are_reached
from appstack_operator.assess.stateful import (
    first_verdict,
    pods_are_ready,
    pods_can_start,
    rollout_is_complete,
    set_exists,
)
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.observed import Observed, RedisInstance, SentinelAnswer

COMPONENT = "redis"
SENTINEL = "redis-sentinel"
LAG_LIMIT_BYTES = 16 * 2**20


def members_exist(stack: AppStack, seen: Observed) -> Verdict | None:
    """Both StatefulSets were made (once their Services have addresses)."""
    return set_exists(stack, COMPONENT, seen) or set_exists(stack, SENTINEL, seen)


def pods_of_both_can_start(stack: AppStack, seen: Observed) -> Verdict | None:
    """No pod is kept from running by a volume, a node, an image, a crash."""
    return pods_can_start(stack, COMPONENT, seen) or pods_can_start(stack, SENTINEL, seen)


def pods_of_both_are_reached(stack: AppStack, seen: Observed) -> Verdict | None:
    """The operator is not cut off from the pods."""
    return pods_are_reached(COMPONENT, seen) or pods_are_reached(SENTINEL, seen)


def sentinels_answer(stack: AppStack, seen: Observed) -> Verdict | None:
    """Most Sentinels answer: fewer cannot agree on a failover."""
    wanted = stack.spec.redis.sentinels
    answering = answers(seen)
    if len(answering) > wanted // 2:
        return None
    silent = [f"{answer.pod}: {answer.error}" for answer in seen.redis.sentinels if answer.error]
    if not answering and not any(instance.role for instance in seen.redis.instances):
        return Verdict.false(Reason.CREATING, f"no Redis has started yet: {'; '.join(silent) or 'no Sentinel exists'}")
    return Verdict.false(
        Reason.NO_SENTINEL_QUORUM, f"{len(answering)} of {wanted} Sentinels answer: {'; '.join(silent)}"
    )


def master_is_agreed(stack: AppStack, seen: Observed) -> Verdict | None:
    """All Sentinels that answer name the same master."""
    masters = {answer.master for answer in answers(seen)}
    if len(masters) == 1:
        return None
    return Verdict.false(Reason.MASTER_DISPUTED, f"Sentinels name {' and '.join(sorted(masters))}")


def master_is_one_of_ours(stack: AppStack, seen: Observed) -> Verdict | None:
    """The master is a pod of this stack, not a stranger at an address that was ours."""
    if instance_of(seen.redis.master, seen):
        return None
    return Verdict.false(Reason.MASTER_DISPUTED, f"Sentinels name {seen.redis.master}, which is no pod of this stack")


def master_is_up(stack: AppStack, seen: Observed) -> Verdict | None:
    """The named master answers, and says that it is one."""
    master = instance_of(seen.redis.master, seen)
    if master and master.role == "master":
        return None
    name = seen.redis.master
    how = master.error or f"says that it is a {master.role}" if master else "does not exist"
    return Verdict.false(Reason.MASTER_DISPUTED, f"{name}, which the Sentinels name, {how}")


def nobody_else_is_master(stack: AppStack, seen: Observed) -> Verdict | None:
    """No second one leads: it may take writes that will vanish, and its data is no copy of the named master's."""
    others = [each.pod for each in seen.redis.instances if each.role == "master" and each.pod != seen.redis.master]
    if not others:
        return None
    said = f"{' and '.join(others)} says that it is master, too; Sentinels name {seen.redis.master}"
    return Verdict.false(Reason.MASTER_DISPUTED, said)


def master_takes_writes(stack: AppStack, seen: Observed) -> Verdict | None:
    """Enough replicas follow the master closely: with fewer it refuses writes (NOREPLICAS).

    One that was alone so far asks for none before they have come.
    """
    master, needed = instance_of(seen.redis.master, seen), stack.spec.redis.replicas // 2
    if master and master.takes_writes_alone:
        return None
    good = master.good_replicas if master else 0
    if good >= needed:
        return None
    how_many = f"{good} of {needed} needed replicas follow" if good else "no replica follows"
    return Verdict.false(Reason.REPLICA_MISSING, f"{how_many} {seen.redis.master} closely, so it refuses writes")


def disk_of_master_takes_writes(stack: AppStack, seen: Observed) -> Verdict | None:
    """The master can write its append-only file: else it refuses all writes (MISCONF), and answers PING."""
    master = instance_of(seen.redis.master, seen)
    if master is None or not master.disk_fails:
        return None
    return Verdict.false(Reason.MASTER_DISPUTED, f"{master.pod} is master and refuses writes: its disk takes no writes")


def disks_of_replicas_take_writes(stack: AppStack, seen: Observed) -> Verdict | None:
    """Every append-only file is written."""
    for instance in seen.redis.instances:
        if instance.disk_fails:
            said = f"{instance.pod} holds in memory alone what it receives: its disk takes no writes"
            return Verdict.false(Reason.REPLICA_LAGGING, said)
    return None


def failover_is_possible(stack: AppStack, seen: Observed) -> Verdict | None:
    """The Sentinels see enough of each other to agree."""
    blind = [answer.pod for answer in answers(seen) if not answer.has_quorum]
    if not blind:
        return None
    return Verdict.false(Reason.NO_SENTINEL_QUORUM, f"{', '.join(blind)} cannot get a quorum for a failover")


def sentinels_know_only_ours(stack: AppStack, seen: Observed) -> Verdict | None:
    """No Sentinel knows more replicas or Sentinels than the stack has: one of another group, or one that is gone.

    What is gone is forgotten within a minute by the agents beside the Sentinels; a stranger stays.
    """
    redis = stack.spec.redis
    live = seen.get("StatefulSet", f"{stack.name}-{COMPONENT}")
    members = max(redis.replicas, live["spec"]["replicas"] if live else 0)  # more while some are still to go
    for answer in answers(seen):
        surplus = [
            (answer.replicas, members - 1, "replicas"),
            (answer.other_sentinels, redis.sentinels - 1, "other Sentinels"),
        ]
        for known, wanted, what in surplus:
            if known > wanted:
                return Verdict.false(
                    Reason.MASTER_DISPUTED,
                    f"{answer.pod} knows {known} {what}, the stack has {wanted}: a stranger, or one that was removed",
                )
    return None


def members_are_ready(stack: AppStack, seen: Observed) -> Verdict | None:
    """As many pods as the spec asks for are ready."""
    redis = stack.spec.redis
    return pods_are_ready(COMPONENT, redis.replicas, seen) or pods_are_ready(SENTINEL, redis.sentinels, seen)


def replicas_follow(stack: AppStack, seen: Observed) -> Verdict | None:
    """Every replica is linked to the master, and not far behind."""
    for instance in seen.redis.instances:
        if instance.role != "slave":
            continue
        if not instance.link_up:
            return Verdict.false(Reason.REPLICA_LAGGING, f"{instance.pod} is not linked to {seen.redis.master}")
        if (instance.lag_bytes or 0) > LAG_LIMIT_BYTES:
            behind = (instance.lag_bytes or 0) // 2**20
            return Verdict.false(Reason.REPLICA_LAGGING, f"{instance.pod} is {behind} MiB behind {seen.redis.master}")
    return None


def pods_are_of_the_newest_template(stack: AppStack, seen: Observed) -> Verdict | None:
    """No pod waits for its restart."""
    return rollout_is_complete(COMPONENT, seen) or rollout_is_complete(SENTINEL, seen)


def answers(seen: Observed) -> list[SentinelAnswer]:
    """The Sentinels that answer."""
    return [answer for answer in seen.redis.sentinels if not answer.error]


def instance_of(pod: str | None, seen: Observed) -> RedisInstance | None:
    """What the Redis of a pod says."""
    return next((instance for instance in seen.redis.instances if instance.pod == pod), None)


# Causes before symptoms.
CHECKS = (
    members_exist,
    pods_of_both_can_start,
    pods_of_both_are_reached,
    sentinels_answer,
    master_is_agreed,
    master_is_one_of_ours,
    master_is_up,
    nobody_else_is_master,
    master_takes_writes,
    disk_of_master_takes_writes,
    disks_of_replicas_take_writes,
    failover_is_possible,
    members_are_ready,
    sentinels_know_only_ours,
    replicas_follow,
    pods_are_of_the_newest_template,
)


def assess_redis(stack: AppStack, seen: Observed) -> Verdict:
    """The first check that does not pass, or health."""
    well = f"{seen.redis.master} is master, replicas that follow: {stack.spec.redis.replicas - 1}"
    return first_verdict(CHECKS, stack, seen, well)

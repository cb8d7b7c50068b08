"""Is PostgreSQL well? An ordered chain of small checks: the first verdict is what the SRE reads. Pure."""

from appstack_operator.api import AppStack
from appstack_operator.api.postgres import SynchronousReplication
from appstack_operator.assess.deployments import assess_deployment
from appstack_operator.assess.reach import pods_are_reached
from appstack_operator.assess.stateful import (
    first_verdict,
    pods_are_ready,
    pods_can_start,
    rollout_is_complete,
    set_exists,
)
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.pooler import COMPONENT as POOLER
from appstack_operator.observed import Observed, PostgresMember

COMPONENT = "postgres"
LAG_LIMIT_BYTES = 64 * 2**20


def members_exist(stack: AppStack, seen: Observed) -> Verdict | None:
    """The StatefulSet was made."""
    return set_exists(stack, COMPONENT, seen)


def members_can_start(stack: AppStack, seen: Observed) -> Verdict | None:
    """No member is kept from running by a volume, a node, an image, a crash."""
    return pods_can_start(stack, COMPONENT, seen)


def members_are_reached(stack: AppStack, seen: Observed) -> Verdict | None:
    """The operator is not cut off from the members."""
    return pods_are_reached(COMPONENT, seen)


def one_primary_leads(stack: AppStack, seen: Observed) -> Verdict | None:
    """Exactly one member says that it is primary."""
    if primary := seen.postgres.primary:
        return primary_runs(primary)
    claimants = [member.pod for member in seen.postgres.members if member.role == "primary"]
    if claimants:
        return Verdict.false(Reason.NO_PRIMARY, f"{' and '.join(claimants)} both say that they are primary")
    if was_never_initialized(stack, seen):
        return Verdict.false(Reason.CREATING, f"the first primary is being made: {states(seen)}")
    return Verdict.false(Reason.NO_PRIMARY, f"no member is primary: {states(seen)}")


def primary_runs(primary: PostgresMember) -> Verdict | None:
    """Its server takes connections: Patroni says who leads also while the server starts or stops."""
    if primary.state == "running":
        return None
    return Verdict.false(Reason.NO_PRIMARY, f"{primary.pod} leads, and its server is {primary.state or 'not running'}")


def was_never_initialized(stack: AppStack, seen: Observed) -> bool:
    """Whether there has been no database yet: Patroni notes its identity beside its configuration."""
    config = seen.get("ConfigMap", f"{stack.name}-postgres-config")
    annotations = config["metadata"].get("annotations") if config else None
    return not (annotations or {}).get("initialize")


def states(seen: Observed) -> str:
    """Each member in a few words."""
    said = [
        f"{member.pod}: {member.error or f'{member.role} {member.state}'}{age_of(member)}"
        for member in seen.postgres.members
    ]
    return "; ".join(said) or "no member answers"


def age_of(member: PostgresMember) -> str:
    """How old an answer is that stands in for one that is late."""
    return f" (last answer {member.age_seconds:.0f} s ago)" if member.age_seconds else ""


def members_are_ready(stack: AppStack, seen: Observed) -> Verdict | None:
    """As many members as the spec asks for are ready."""
    return pods_are_ready(COMPONENT, stack.spec.postgres.instances, seen)


def replicas_follow(stack: AppStack, seen: Observed) -> Verdict | None:
    """Every replica streams from the primary, and is not far behind."""
    for member in replicas(seen):
        if member.state != "streaming":
            return Verdict.false(
                Reason.REPLICA_LAGGING, f"{member.pod} does not follow the primary: {member.error or member.state}"
            )
        if member.lag_bytes is not None and member.lag_bytes > LAG_LIMIT_BYTES:
            return Verdict.false(
                Reason.REPLICA_LAGGING, f"{member.pod} is {member.lag_bytes // 2**20} MiB behind the primary"
            )
    return None


def commits_are_replicated(stack: AppStack, seen: Observed) -> Verdict | None:
    """A replica holds every acknowledged commit, where the spec asks for that."""
    postgres = stack.spec.postgres
    if postgres.instances == 1 or postgres.synchronous_replication is SynchronousReplication.OFF:
        return None
    if any(member.is_sync for member in seen.postgres.members):
        return None
    is_required = postgres.synchronous_replication is SynchronousReplication.REQUIRED
    effect = "writes wait" if is_required else "commits are acknowledged without a second copy"
    return Verdict.false(Reason.NO_SYNC_STANDBY, f"no replica is synchronous, so {effect}")


def writes_are_taken(stack: AppStack, seen: Observed) -> Verdict | None:
    """Commits do not wait for a replica that is not there."""
    is_required = stack.spec.postgres.synchronous_replication is SynchronousReplication.REQUIRED
    return commits_are_replicated(stack, seen) if is_required else None


def pooler_stands(stack: AppStack, seen: Observed) -> Verdict | None:
    """The pooler, through which the backend's writes go, has all its pods."""
    pooler = stack.spec.postgres.pooler
    if not pooler.enabled:
        return None
    verdict = assess_deployment(f"{stack.name}-{POOLER}", POOLER, pooler.replicas, seen)
    return None if verdict.is_true else verdict


def settings_are_in_force(stack: AppStack, seen: Observed) -> Verdict | None:
    """No member waits for a restart, and all pods are of the newest template."""
    waiting = [member.pod for member in seen.postgres.members if member.pending_restart]
    if waiting:
        return Verdict.true(
            Reason.ROLLOUT_IN_PROGRESS, f"a changed parameter waits for a restart of {', '.join(waiting)}"
        )
    return rollout_is_complete(COMPONENT, seen)


def replicas(seen: Observed) -> list[PostgresMember]:
    """All members but the primary."""
    return [member for member in seen.postgres.members if member.role != "primary"]


# Causes before symptoms.
CHECKS = (
    members_exist,
    members_can_start,
    members_are_reached,
    one_primary_leads,
    writes_are_taken,
    members_are_ready,
    replicas_follow,
    commits_are_replicated,
    pooler_stands,
    settings_are_in_force,
)


def assess_postgres(stack: AppStack, seen: Observed) -> Verdict:
    """The first check that does not pass, or health."""
    primary = seen.postgres.primary
    well = f"{primary.pod if primary else 'nobody'} is primary, replicas that follow: {len(replicas(seen))}"
    return first_verdict(CHECKS, stack, seen, well)


def only_the_pooler_is_unwell(stack: AppStack, seen: Observed) -> bool:
    """Whether who goes past the pooler finds all as it should be."""
    others = (check for check in CHECKS if check is not pooler_stands)
    return first_verdict(others, stack, seen, "").is_true

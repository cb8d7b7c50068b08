"""What of a stack is still to be done after a look at it, and when to look again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from appstack_operator.api import AppStack, AppStackStatus
from appstack_operator.apply import Failure, is_ours
from appstack_operator.assess.deployments import is_rolled_out
from appstack_operator.assess.verdict import Verdict
from appstack_operator.desired.context import Context, Parameters
from appstack_operator.desired.parameters import describe_proposals, describe_refusals
from appstack_operator.kinds import Ref
from appstack_operator.objects import Object, component_of, content_hash
from appstack_operator.observed import Observed
from appstack_operator.plan import Action
from appstack_operator.settings import Settings
from appstack_operator.volumes import growing

# While something is under way, services are asked this often: not all that they do shows in Kubernetes.
BUSY_SECONDS = 3.0
# What stalls a stack may be repaired where nobody wakes us: a Secret of the user's has no label of ours.
STALLED_SECONDS = 60.0
# A busy API server, or another writer, is over by then; a webhook that does not answer may need somebody.
PASSING_SECONDS = 60.0


def unsettled_parameters(stack: AppStack, seen: Observed, context: Context) -> list[str]:
    """Settings of PostgreSQL that are not in force yet: not looked at, refused, or waiting for a restart."""
    parameters = context.parameters or Parameters()
    restarts = [f"{each.pod} waits for a restart" for each in seen.postgres.members if each.pending_restart]
    found = [describe_proposals(parameters), describe_refusals(stack, parameters), *restarts]
    return [each for each in found if each]


def pending_work(stack: AppStack, seen: Observed, actions: Sequence[Action], waiting: Sequence[str]) -> list[str]:
    """What is still to be done, in sentences; empty when what was seen is what is wanted.

    Users put the stack's label on what is theirs, too; that may be as unfinished as it likes.
    """
    rollouts = [
        f"{kind} {obj['metadata']['name']} is being rolled out"
        for kind, is_complete in (("Deployment", is_rolled_out), ("StatefulSet", is_current))
        for obj in seen.of_kind(kind)
        if is_ours(stack, obj) and not is_complete(obj)
    ]
    return [*(str(action) for action in actions), *waiting, *rollouts, *growing(stack, seen)]


def is_current(stateful_set: Object) -> bool:
    """Whether all pods of a StatefulSet are ready and of its newest template."""
    status = stateful_set.get("status", {})
    wanted = stateful_set["spec"].get("replicas", 1)
    # With OnDelete, currentRevision never moves on; the number of updated pods tells.
    is_updated = status.get("updateRevision") == status.get("currentRevision") or (
        status.get("updatedReplicas", 0) == wanted
    )
    return bool(
        status.get("observedGeneration", 0) >= stateful_set["metadata"].get("generation", 0)
        and status.get("readyReplicas", 0) == wanted
        and is_updated
    )


def tried_since(failures: Sequence[Failure], before: Mapping[Ref, datetime], now: datetime) -> dict[Ref, datetime]:
    """Target -> since when each try has failed in a way that may pass."""
    passing = (failure.target for failure in failures if failure.is_passing and failure.is_urgent)
    return {target: before.get(target, now) for target in passing}


def as_it_lasts(failure: Failure, since: Mapping[Ref, datetime], now: datetime) -> Failure:
    """What was to pass and has not, in a minute of tries, is taken for what does not pass, and told."""
    began = since.get(failure.target, now)
    if not failure.is_passing or not has_lasted(began, now):
        return failure
    return replace(failure, message=f"{failure.message}; so at each try since {began:%H:%M:%SZ}", is_passing=False)


def has_lasted(began: datetime, now: datetime) -> bool:
    """Whether something goes on for so long that somebody has to know."""
    return (now - began).total_seconds() >= PASSING_SECONDS


def verdicts_of(failures: Sequence[Failure], seen: Observed) -> dict[str, Verdict]:
    """Component -> why its objects could not be written; what may pass by itself is not worth a verdict."""
    return {
        failure.component or component_of_target(failure.target, seen): Verdict.false(failure.reason, failure.message)
        for failure in reversed(failures)
        if not failure.is_passing
    }


def component_of_target(target: Ref, seen: Observed) -> str:
    """Of what is deleted, or changed in a part, the live object tells."""
    live = seen.get(target.kind, target.name)
    return component_of(live) if live else ""


def next_look(
    settings: Settings, status: AppStackStatus, failures: Sequence[Failure], now: datetime, phase: float
) -> float:
    """Soon while something is under way, ever more rarely the longer it takes, and rarely at rest.

    What changes in Kubernetes wakes us anyway; this is for what only the services know.
    """
    if any(failure.is_passing and failure.is_urgent for failure in failures):
        return BUSY_SECONDS
    moving = next((each for each in status.conditions if each.type == "Reconciling"), None)
    if moving is None:
        is_stalled = any(each.type == "Stalled" for each in status.conditions)
        if is_stalled:
            return min(settings.resync_seconds, STALLED_SECONDS)
        # At its own moment: hundreds that became ready together, or were all looked at after a start, come one by one.
        return settings.resync_seconds - (now.timestamp() - phase * settings.resync_seconds) % settings.resync_seconds
    age_seconds = (now - datetime.fromisoformat(moving.last_transition_time)).total_seconds()
    return min(max(BUSY_SECONDS, age_seconds / 20), settings.resync_seconds)


def phase_of(uid: str) -> float:
    """A stack's own moment in every period, from 0 to 1: always the same for the stack, another one for the next."""
    return int(content_hash(uid, 8), 16) / 16**8

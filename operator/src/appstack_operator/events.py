"""Kubernetes Events on transitions: built purely, one per change that a person would want to know."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from appstack_operator.api import AppStack
from appstack_operator.api.status import Condition
from appstack_operator.assess.pods import NODE_SILENT
from appstack_operator.assess.stateful import was_ever_complete
from appstack_operator.assess.verdict import Reason
from appstack_operator.kinds import EVENT
from appstack_operator.objects import API_VERSION, FIELD_MANAGER, Object, content_hash

REPLICAS_IGNORED = "ReplicasIgnored"  # no reason of a condition: all is well
POD_MOVED = "PodMoved"
NOTE_BYTES = 1024  # Kubernetes refuses an event with a longer note, and counts bytes
QUIET = {"Reconciling"}  # comes and goes with every change
# Work that goes on by itself, or what the spec asks for: nobody has to look.
EXPECTED = {
    Reason.CREATING,
    Reason.ROLLOUT_IN_PROGRESS,
    Reason.MIGRATION_PENDING,
    Reason.MIGRATION_RUNNING,
    Reason.SINGLE_INSTANCE,
    Reason.PAUSED,
    Reason.DELETING,
}
# What services that come up one after the other pass through: no loss before there was anything to lose.
PASSED_THROUGH = {
    Reason.NO_PRIMARY,
    Reason.NO_SYNC_STANDBY,
    Reason.REPLICA_MISSING,
    Reason.REPLICA_LAGGING,
    Reason.MASTER_DISPUTED,
    Reason.NO_SENTINEL_QUORUM,
    Reason.QUORUM_LOST,
    Reason.BACKLOG_UNREADABLE,
    Reason.STATE_UNKNOWN,
}


def build_events(
    stack: AppStack, before: Sequence[Condition], after: Sequence[Condition], now: datetime
) -> Iterator[Object]:
    """One event for each condition whose status or reason is new."""
    former = {condition.type: condition for condition in before}
    ready = next((condition for condition in after if condition.type == "Ready"), None)
    for condition in after:
        old = former.get(condition.type)
        if old is not None and (old.status, old.reason) == (condition.status, condition.reason):
            continue
        # The first steps of a new stack are no news, nor is HighlyAvailable while it only repeats Ready.
        is_first_step = condition.reason in (Reason.CREATING, Reason.MIGRATION_PENDING)
        is_repetition = condition.type == "HighlyAvailable" and ready is not None and ready.status != "True"
        if condition.type not in QUIET and not is_first_step and not is_repetition:
            is_warning = is_worrying(condition, was_complete=was_ever_complete(before))
            note = f"{condition.type} is {condition.status}: {condition.message}"
            yield build_event(stack, condition.type, condition.reason, note, now, is_warning=is_warning)


def build_ignored(stack: AppStack, former: AppStack | None, now: datetime) -> Iterator[Object]:
    """An event about a number of API pods that does nothing, when a change of the spec has brought that about.

    `former` is the stack as the last pass saw it; None: this process has not seen it before.
    """
    wanted = stack.spec.backend.api
    if wanted.autoscaling is None or stack.metadata.generation == stack.status.observed_generation:
        return
    was = former.spec.backend.api if former else None
    if was and was.autoscaling and was.replicas == wanted.replicas:
        return
    bounds = f"{wanted.autoscaling.min_replicas} to {wanted.autoscaling.max_replicas}"
    note = (
        f"spec.backend.api.replicas ({wanted.replicas}) is ignored: with autoscaling, HorizontalPodAutoscaler "
        f"{stack.name}-api chooses {bounds}; change spec.backend.api.autoscaling, or take it out"
    )
    yield build_event(stack, "APIReady", REPLICAS_IGNORED, note, now, is_warning=False)


def build_moves(stack: AppStack, moves: Iterable[str], now: datetime) -> Iterator[Object]:
    """One event for each pod that is sent to another node."""
    return (build_event(stack, "HighlyAvailable", POD_MOVED, each, now, is_warning=False) for each in moves)


def build_silence(stack: AppStack, node: str, pods: Sequence[str], now: datetime) -> Object:
    """An event about pods that are taken out of their Services, once for each node that falls silent."""
    note = f"node {node} does not answer: {', '.join(pods)} {'is' if len(pods) == 1 else 'are'} marked as not ready"
    return build_event(stack, "HighlyAvailable", NODE_SILENT, note, now, is_warning=True)


def is_worrying(condition: Condition, *, was_complete: bool) -> bool:
    """Whether a person has to look, or what was good has become bad."""
    is_good = (condition.status == "True") != (condition.type == "Stalled")
    return not (is_good or condition.reason in EXPECTED or (condition.reason in PASSED_THROUGH and not was_complete))


def build_event(stack: AppStack, action: str, reason: str, note: str, now: datetime, *, is_warning: bool) -> Object:
    """An event about the stack; `action` is the type of the condition that it belongs to."""
    moment = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    name = f"{stack.name}.{content_hash([action, reason, note, moment])}"
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": {"name": name, "namespace": stack.namespace},
        "eventTime": moment,
        "reportingController": FIELD_MANAGER,
        "reportingInstance": FIELD_MANAGER,
        "action": action,
        "reason": reason,
        "type": "Warning" if is_warning else "Normal",
        "note": note.encode()[:NOTE_BYTES].decode(errors="ignore"),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "AppStack",
            "name": stack.name,
            "namespace": stack.namespace,
            "uid": stack.metadata.uid,
        },
    }

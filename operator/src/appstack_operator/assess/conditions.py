"""From verdicts and what a pass did to the conditions and the summary in status. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from appstack_operator.api import AppStack
from appstack_operator.api.status import Condition
from appstack_operator.assess.stack import Assessment, assess_highly_available, assess_ready
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.observed import Observed

# Component of a failed write -> the condition that has to say so.
CONDITION_OF = {
    "postgres": "PostgresReady",
    "redis": "RedisReady",
    "redis-sentinel": "RedisReady",
    "rabbitmq": "RabbitMQReady",
    "migrate": "MigrationsApplied",
    "api": "APIReady",
}
# Nothing moves on by itself from here: somebody has to act.
STALLING = {
    Reason.MIGRATION_FAILED,
    Reason.FOREIGN_OBJECT,
    Reason.APPLY_REFUSED,
    Reason.SPEC_INVALID,
    Reason.SECRET_MISSING,
    Reason.SECRET_INVALID,
    Reason.CONFIG_MAP_MISSING,
    Reason.PARAMETER_REFUSED,
}
NOT_YET = {Reason.CREATING, Reason.ROLLOUT_IN_PROGRESS, Reason.MIGRATION_PENDING, Reason.MIGRATION_RUNNING}


@dataclass(frozen=True, slots=True)
class Work:
    """What is left to do after the plan of a pass was made."""

    pending: Sequence[str] = ()  # actions of the plan, closed gates, rollouts under way
    failures: Mapping[str, Verdict] | None = None  # component -> why its write failed
    refusal: Verdict | None = None  # why nothing is done: the spec cannot be read, and what was seen is by a former one

    @property
    def is_settled(self) -> bool:
        """Whether what was seen is what is wanted."""
        return not self.pending and self.refusal is None


def condition_of_component(component: str) -> str:
    """The condition type that reports on a component."""
    if component.startswith("worker-"):
        return "WorkersReady"
    if component.startswith("cron-"):
        return "CronJobsReady"
    return CONDITION_OF.get(component, "APIReady")


def judge(stack: AppStack, seen: Observed, assessment: Assessment, work: Work) -> dict[str, Verdict]:
    """Condition type -> verdict, of all conditions that hold now."""
    components = dict(assessment.verdicts)
    for component, verdict in (work.failures or {}).items():
        components[condition_of_component(component)] = verdict
    ready = assess_ready(assessment)
    available = assess_highly_available(stack, seen, assessment, ready)
    if stack.spec.paused and ready.is_true:
        ready = Verdict.true(Reason.PAUSED, "users are served; spec.paused is true: the operator changes nothing")
    verdicts = {"Ready": ready, "HighlyAvailable": available, **components}
    if stalled := work.refusal or next((verdict for verdict in components.values() if stalls(verdict)), None):
        verdicts["Stalled"] = Verdict.true(stalled.reason, stalled.message)
    elif not work.is_settled and not stack.spec.paused:
        verdicts["Reconciling"] = reconciling(verdicts, work)
    return verdicts


def stalls(verdict: Verdict) -> bool:
    """Whether somebody has to act: by the reason itself, or because a rollout has had its time."""
    return verdict.is_stuck or verdict.reason in STALLING


def reconciling(verdicts: Mapping[str, Verdict], work: Work) -> Verdict:
    """What the stack is busy with."""
    moving = next((verdict for verdict in verdicts.values() if verdict.reason in NOT_YET), None)
    if moving:
        return Verdict.true(moving.reason, moving.message)
    return Verdict.true(Reason.ROLLOUT_IN_PROGRESS, work.pending[0])


def headline(verdicts: Mapping[str, Verdict]) -> Verdict:
    """The one thing to know now: an outage, then what needs somebody, then a risk, then work under way.

    A start that is merely not done yet is no outage.
    """
    ready, available = verdicts["Ready"], verdicts["HighlyAvailable"]
    is_on_its_way = ready.reason in NOT_YET
    if not ready.is_true and not (is_on_its_way and "Stalled" in verdicts):
        return ready
    if "Stalled" in verdicts:
        return verdicts["Stalled"]
    if ready.reason is Reason.PAUSED:
        return ready
    if not available.is_true:
        return available
    wrong = (verdict for name, verdict in verdicts.items() if not verdict.is_true)
    return next(wrong, verdicts.get("Reconciling", ready))


def build_conditions(
    verdicts: Mapping[str, Verdict], before: Sequence[Condition], generation: int, *, is_settled: bool, now: datetime
) -> list[Condition]:
    """The conditions with their times; those of before keep theirs while their status stays."""
    former = {condition.type: condition for condition in before}
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = []
    for name, verdict in verdicts.items():
        old = former.get(name)
        # Ready speaks for a generation only once that is rolled out: `kubectl wait` then waits for the change.
        speaks_for = generation if name != "Ready" or is_settled else (old.observed_generation if old else 0)
        is_same = old is not None and old.status == verdict.status
        conditions.append(
            Condition(
                type=name,
                status=verdict.status,
                reason=verdict.reason.value,
                message=verdict.message[:2000],
                last_transition_time=old.last_transition_time if old and is_same else stamp,
                observed_generation=speaks_for,
            )
        )
    return conditions

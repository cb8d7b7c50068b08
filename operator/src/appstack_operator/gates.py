"""What must stand before what: data services, migrations, API and workers, cron jobs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from appstack_operator.assess.stack import Assessment
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.stack import Stage

# What starts pods of the user's image.
GATED_KINDS = {"Job", "Deployment", "CronJob"}
DATA = ("PostgresReady", "RedisReady", "RabbitMQReady")


@dataclass(frozen=True, slots=True)
class Gates:
    """Stages whose turn has not come, each with the reason. A closed gate leaves what runs behind it as it is."""

    closed: Mapping[Stage, str] = field(default_factory=dict)

    def is_open(self, stage: Stage) -> bool:
        """Whether the stage's turn has come."""
        return stage not in self.closed

    def lets_through(self, stage: Stage, kind: str) -> bool:
        """Whether an object may be written: behind a gate nothing runs, but a Service may stand there already."""
        return self.is_open(stage) or (kind not in GATED_KINDS and self.is_open(Stage.ENVIRONMENT))


def set_gates(assessment: Assessment) -> Gates:
    """Close the first stage that has to wait, and all behind it."""
    closed: dict[Stage, str] = {}
    why = ""
    for stage in Stage:
        why = why or why_closed(stage, assessment)
        if why:
            closed[stage] = why
    return Gates(closed)


def why_closed(stage: Stage, assessment: Assessment) -> str:
    """What this stage itself waits for; empty if for nothing."""
    if stage is Stage.ENVIRONMENT:
        return sentence(assessment.missing_inputs)
    if stage is Stage.MIGRATIONS:
        waiting = [name for name in DATA if not assessment.serves[name]]
        return "; ".join(f"waits for {name}: {assessment.verdicts[name].message}" for name in waiting)
    if stage is Stage.BACKEND and not assessment.verdicts["MigrationsApplied"].is_true:
        return f"waits for MigrationsApplied: {assessment.verdicts['MigrationsApplied'].message}"
    if stage is Stage.CRON_JOBS:
        waiting = [name for name in ("APIReady", "WorkersReady") if is_still_to_come(name, assessment)]
        rollout = "" if assessment.old_pods_are_gone else "waits until the API and the workers are rolled out"
        return "; ".join(f"waits for {name}: {assessment.verdicts[name].message}" for name in waiting) or rollout
    return ""


def is_still_to_come(name: str, assessment: Assessment) -> bool:
    """Whether a part serves nobody and is to: an API of no pods is what the spec asks for, and nothing waits for it."""
    return not assessment.serves[name] and assessment.verdicts[name].reason is not Reason.NOT_DECLARED


def sentence(verdict: Verdict | None) -> str:
    """The message of a verdict, if there is one."""
    return verdict.message if verdict else ""

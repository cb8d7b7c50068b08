"""The verdict of a check and the enum of all reasons: the words that an SRE reads at 3 a.m."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

Status = Literal["True", "False", "Unknown"]


class Reason(StrEnum):
    """Why a condition is what it is; `meaning` in one sentence, docs/runbooks/REASON.md in full."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Give the member its value and its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    # Fine
    HEALTHY = "Healthy", "Everything that the condition is about is as it should be."
    NOT_DECLARED = "NotDeclared", "The spec asks for nothing of this kind, so nothing can be wrong with it."
    SINGLE_INSTANCE = "SingleInstance", "One instance is what the spec asks for: its loss is an outage."

    # On the way
    CREATING = "Creating", "Objects were made and have not become ready yet; nothing is known to be wrong."
    ROLLOUT_IN_PROGRESS = "RolloutInProgress", "Pods are being replaced by pods of the new template."
    MIGRATION_PENDING = "MigrationPending", "The migration waits for a data service or has not been started."
    MIGRATION_RUNNING = "MigrationRunning", "The migration Job of the wanted image runs."
    PAUSED = "Paused", "spec.paused is true: the operator observes and reports, and changes nothing."
    DELETING = "Deleting", "The stack is being deleted."

    # Pods of any component
    IMAGE_PULL_FAILED = "ImagePullFailed", "A node cannot get the image of a container."
    CRASH_LOOPING = "CrashLooping", "A container ends again and again soon after its start."
    POD_UNSCHEDULABLE = "PodUnschedulable", "No node can take the pod."
    POD_REFUSED = "PodRefused", "The API server refuses to create a pod: a quota, an admission policy."
    VOLUME_PENDING = "VolumePending", "A PersistentVolumeClaim is not bound to a volume."
    REPLICA_MISSING = "ReplicaMissing", "Fewer instances are ready than the spec asks for."
    ROLLOUT_STUCK = (
        "RolloutStuck",
        "A rollout made no progress within its deadline; what served before still does.",
    )
    SHARED_NODE = "SharedNode", "Instances that must not fail together run on one node."

    # PostgreSQL
    NO_PRIMARY = "NoPrimary", "No PostgreSQL instance holds the leader lock and takes writes."
    NO_SYNC_STANDBY = "NoSyncStandby", "No replica holds every acknowledged commit."
    REPLICA_LAGGING = "ReplicaLagging", "A replica is too far behind, or not linked to its primary or master."
    PARAMETER_REFUSED = (
        "ParameterRefused",
        "PostgreSQL refuses a value of spec.postgres.parameters, or Patroni would drop or change it.",
    )

    # Redis
    MASTER_DISPUTED = "MasterDisputed", "Sentinels do not agree on one master that takes writes."
    NO_SENTINEL_QUORUM = "NoSentinelQuorum", "Too few Sentinels answer to agree on a failover."

    # RabbitMQ
    QUORUM_LOST = "QuorumLost", "Fewer than a majority of the nodes run: queues take no messages."
    PARTITION_DETECTED = (
        "PartitionDetected",
        "RabbitMQ nodes do not see each other, or did not since a partition.",
    )
    PUBLISHERS_BLOCKED = (
        "PublishersBlocked",
        "A RabbitMQ node is short of memory or disk, and all publishers are held back.",
    )
    BACKLOG_UNREADABLE = (
        "BacklogUnreadable",
        "The length of a queue cannot be read: its workers are not scaled.",
    )

    # The API
    USAGE_UNREADABLE = (
        "UsageUnreadable",
        "The CPU use of API pods cannot be measured: the autoscaler keeps their number.",
    )

    # What the user refers to
    SECRET_MISSING = (
        "SecretMissing",
        "A Secret that the spec names, or one with passwords of the stack, does not exist.",
    )
    SECRET_INVALID = "SecretInvalid", "A Secret lacks a key, or its content cannot be used."
    CONFIG_MAP_MISSING = (
        "ConfigMapMissing",
        "A ConfigMap that the spec names does not exist, or lacks the key that is asked for.",
    )
    EXTERNAL_UNREACHABLE = "ExternalUnreachable", "An external service does not answer."
    FOREIGN_OBJECT = (
        "ForeignObject",
        "An object of the name that is needed exists and belongs to somebody else.",
    )
    SPEC_INVALID = "SpecInvalid", "The spec cannot be carried out; the running stack is left as it is."
    APPLY_REFUSED = "ApplyRefused", "The API server refused, or has not carried out, what the operator asked for."

    # Migrations and scheduled jobs
    MIGRATION_FAILED = "MigrationFailed", "The migration of the wanted image failed; the old version stays."
    CRON_JOB_FAILED = "CronJobFailed", "The last finished run of a scheduled job failed."
    CRON_JOB_MISSED = "CronJobMissed", "A run of a scheduled job is overdue."

    # The operator itself
    PODS_UNREACHABLE = (
        "PodsUnreachable",
        "The operator is cut off from the data services' pods: how they are is not known.",
    )
    STATE_UNKNOWN = (
        "StateUnknown",
        "No check found a cause, and yet nobody serves: what was seen contradicts itself.",
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check concludes: a condition without its type and time."""

    status: Status
    reason: Reason
    message: str = ""
    is_stuck: bool = False  # a rollout whose time is up: it may not come to its end by itself

    @classmethod
    def true(cls, reason: Reason, message: str = "") -> Self:
        """It holds."""
        return cls("True", reason, message)

    @classmethod
    def false(cls, reason: Reason, message: str) -> Self:
        """It does not hold, and the message says which object and why."""
        return cls("False", reason, message)

    @classmethod
    def unknown(cls, reason: Reason, message: str) -> Self:
        """Nobody can tell, and the message says why."""
        return cls("Unknown", reason, message)

    @property
    def is_true(self) -> bool:
        """Whether it is known to hold."""
        return self.status == "True"

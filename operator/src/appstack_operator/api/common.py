"""Parts of the spec that several components share: resources, volumes, environment, scheduling."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field

from appstack_operator.api.base import QUANTITY, ApiModel, cel

Quantity = Annotated[str, Field(pattern=QUANTITY, max_length=20)]
SecretName = Annotated[str, Field(min_length=1, max_length=253)]
# In resources and settings people also write bare numbers (cpu: 1).
NUMBER_OR_TEXT = {"x-kubernetes-int-or-string": True}
ResourceQuantity = Annotated[
    str,
    Field(pattern=QUANTITY, max_length=20, json_schema_extra=NUMBER_OR_TEXT),
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
]
Setting = Annotated[
    str,
    Field(max_length=1000, json_schema_extra=NUMBER_OR_TEXT),
    BeforeValidator(lambda value: str(value) if isinstance(value, int) else value),
]
# Kubernetes' own types, passed through: the API server checks them when the pod is created.
Passthrough = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
Arguments = Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=100)]

SAME_STORAGE_CLASS = (
    (
        "has(self.storageClassName) == has(oldSelf.storageClassName) && "
        "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
    ),
    "storageClassName cannot change: volumes cannot move; create a new stack and move the data",
)
NEVER_SHRINKS = (
    "!quantity(self).isLessThan(quantity(oldSelf))",
    "storage.size cannot shrink: volumes only grow; create a new stack and move the data",
)
SAME_MODE = (
    "self == oldSelf",
    "mode cannot change: the data would stay behind; create a new stack and move the data",
)
EXTERNAL_IS_NAMED = (
    # has(): the API server checks the default of the parent, {}, before it fills in the parts.
    "!has(self.mode) || self.mode != 'External' || has(self.external)",
    "mode External needs external.secretName: the Secret that says where the service is",
)


class Mode(StrEnum):
    """Who runs a data service: the operator, or somebody else."""

    MANAGED = "Managed"
    EXTERNAL = "External"


class Spread(StrEnum):
    """How strictly pods of one component stay on different nodes."""

    PREFERRED = "Preferred"
    REQUIRED = "Required"


class PullPolicy(StrEnum):
    """When a node pulls the image."""

    IF_NOT_PRESENT = "IfNotPresent"
    ALWAYS = "Always"
    NEVER = "Never"


class Resources(ApiModel):
    """Requests and limits of one container; what is left out keeps the operator's default."""

    requests: dict[str, ResourceQuantity] = Field(default={}, max_length=10, description="What the scheduler reserves.")
    limits: dict[str, ResourceQuantity] = Field(
        default={}, max_length=10, description="What the container may use at most."
    )


class External(ApiModel):
    """A service that the operator does not run."""

    secret_name: SecretName = Field(description="Secret in the stack's namespace with the addresses and passwords.")


class ImagePullSecret(ApiModel):
    """A Secret with the credentials of an image registry."""

    name: SecretName = Field(description="Name of the Secret, in the stack's namespace.")


class EnvVar(ApiModel):
    """One environment variable of the backend's containers."""

    name: str = Field(min_length=1, max_length=256, description="Name of the variable.")
    value: str | None = Field(
        default=None, max_length=32768, description="Its value; $(DATABASE_URL) and the like are expanded."
    )
    value_from: Passthrough | None = Field(default=None, description="Its source, as in a pod's env.")


class Toleration(ApiModel):
    """A taint that the pods of the stack tolerate."""

    key: str | None = Field(default=None, max_length=317, description="Key of the taint; empty means every taint.")
    operator: str | None = Field(default=None, max_length=10, description="Exists or Equal.")
    value: str | None = Field(default=None, max_length=63, description="Value of the taint.")
    effect: str | None = Field(
        default=None, max_length=20, description="NoSchedule, PreferNoSchedule or NoExecute; empty means all."
    )
    toleration_seconds: int | None = Field(
        default=None, description="How long a NoExecute taint is tolerated, in seconds."
    )


class Scheduling(ApiModel):
    """Where the pods of the stack run."""

    spread: Spread = Field(
        default=Spread.PREFERRED,
        description="Pods of one component on different nodes: if possible (Preferred) or always (Required).",
    )
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default={}, max_length=20, description="Labels that a node must have."
    )
    tolerations: list[Toleration] = Field(default=[], max_length=20, description="Taints that are tolerated.")
    priority_class_name: str = Field(default="", max_length=253, description="PriorityClass of the pods.")


VolumeSize = Annotated[
    Quantity,
    Field(
        description="Size of each volume. It may grow, where the storage class allows it, and never shrinks.",
        json_schema_extra=cel(NEVER_SHRINKS),
    ),
]


class Storage(ApiModel):
    """The volume of each instance."""

    model_config = ConfigDict(json_schema_extra=cel(SAME_STORAGE_CLASS))

    size: VolumeSize = "1Gi"
    storage_class_name: str | None = Field(
        default=None,
        max_length=253,
        description="StorageClass of the volumes; the cluster's default if left out. Immutable.",
    )


class DataService(ApiModel):
    """A data service of the stack: the operator runs it, or somebody else does."""

    model_config = ConfigDict(json_schema_extra=cel(EXTERNAL_IS_NAMED))

    mode: Mode = Field(
        default=Mode.MANAGED,
        description="Managed by the operator, or External. Immutable.",
        json_schema_extra=cel(SAME_MODE),
    )

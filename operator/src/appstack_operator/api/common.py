"""Parts of the spec that several components share: resources, volumes, environment, scheduling."""

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from appstack_operator.api.base import DNS_SUBDOMAIN, LABEL_VALUE, QUANTITY, ApiModel, cel

Quantity = Annotated[str, Field(pattern=QUANTITY, max_length=20)]
SecretName = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
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
Arguments = Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=100)]

ENV_NAME = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"
DNS_SUBDOMAIN_OR_NOTHING = rf"^$|{DNS_SUBDOMAIN}"
LABEL_KEYS = (
    "self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
    "nodeSelector: a key is the name of a label: letters, digits, - _ . and perhaps a domain and a slash before them",
)

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
HOLDS_SOMETHING = (
    "!quantity(self).isLessThan(quantity('1Mi'))",
    "storage.size must be at least 1Mi: nothing fits into less (10Gi is a size, 10 is ten bytes)",
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


# Numbers may be written bare (cpu: 1), which makes a comparison too dear for the API server where there are lists of
# resources: for workers and scheduled jobs it refuses the Deployment or CronJob instead (ApplyRefused).
REQUESTS_WITHIN_LIMITS = (
    # has(): the API server checks the default of the parent, {}, before it fills in the parts.
    "!has(self.requests) || !has(self.limits) || ['cpu', 'memory'].all(name, "
    "!(name in self.requests) || !(name in self.limits) || "
    "!quantity(string(self.requests[name])).isGreaterThan(quantity(string(self.limits[name]))))"
)
WITHIN_LIMITS = cel(
    (
        REQUESTS_WITHIN_LIMITS,
        "requests must not be greater than limits: raise the limit or lower the request of the same name",
    )
)
KNOWN_RESOURCES = (
    ("self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || name.matches('^[a-z0-9.-]+/[A-Za-z0-9_.-]+$'))"),
    "resources are cpu, memory, ephemeral-storage, or of a device plugin (example.com/gpu)",
)
ONE_SOURCE_OF_A_VALUE = (
    (
        "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef), has(self.resourceFieldRef)]"
        ".filter(is_set, is_set).size() == 1"
    ),
    "valueFrom needs exactly one of secretKeyRef, configMapKeyRef, fieldRef, resourceFieldRef",
)
VALUE_OR_SOURCE = (
    "!(has(self.value) && has(self.valueFrom))",
    "a variable has a value or a valueFrom, not both: remove one",
)
ONE_SOURCE_OF_VARIABLES = (
    "has(self.secretRef) != has(self.configMapRef)",
    "envFrom needs exactly one of secretRef and configMapRef",
)
TOLERATION_IS_COMPLETE = (
    (
        "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
        "a toleration without a key tolerates every taint: say so with operator: Exists, or name a key",
    ),
    (
        "!(has(self.operator) && self.operator == 'Exists' && has(self.value) && self.value != '')",
        "a toleration with operator Exists has no value: remove it, or use Equal",
    ),
    (
        "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        "tolerationSeconds needs effect: NoExecute",
    ),
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

    requests: dict[str, ResourceQuantity] = Field(
        default={}, max_length=10, description="What the scheduler reserves.", json_schema_extra=cel(KNOWN_RESOURCES)
    )
    limits: dict[str, ResourceQuantity] = Field(
        default={},
        max_length=10,
        description="What the container may use at most.",
        json_schema_extra=cel(KNOWN_RESOURCES),
    )


class External(ApiModel):
    """A service that the operator does not run."""

    secret_name: SecretName = Field(description="Secret in the stack's namespace with the addresses and passwords.")


class ImagePullSecret(ApiModel):
    """A Secret with the credentials of an image registry."""

    name: SecretName = Field(description="Name of the Secret, in the stack's namespace.")


class KeyRef(ApiModel):
    """A key of a Secret or a ConfigMap."""

    name: SecretName = Field(description="Name of the object, in the stack's namespace.")
    key: str = Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="Its key.")
    optional: bool | None = Field(default=None, description="Whether the pod starts without it.")


class FieldRef(ApiModel):
    """A field of the pod."""

    field_path: str = Field(min_length=1, max_length=317, description="For example metadata.name or status.podIP.")
    api_version: str | None = Field(default=None, max_length=20, description="Version of the path's schema: v1.")


class ResourceFieldRef(ApiModel):
    """A request or limit of the container."""

    resource: str = Field(min_length=1, max_length=317, description="For example limits.memory.")
    divisor: ResourceQuantity | None = Field(default=None, description="Unit of the value, for example 1Mi.")


class ValueSource(ApiModel):
    """Where the value of a variable comes from."""

    model_config = ConfigDict(json_schema_extra=cel(ONE_SOURCE_OF_A_VALUE))

    secret_key_ref: KeyRef | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: KeyRef | None = Field(default=None, description="A key of a ConfigMap.")
    field_ref: FieldRef | None = Field(default=None, description="A field of the pod.")
    resource_field_ref: ResourceFieldRef | None = Field(
        default=None, description="A request or limit of the container."
    )


class ObjectRef(ApiModel):
    """A Secret or a ConfigMap."""

    name: SecretName = Field(description="Name of the object, in the stack's namespace.")
    optional: bool | None = Field(default=None, description="Whether the pod starts without it.")


class VariablesSource(ApiModel):
    """A Secret or a ConfigMap whose keys become variables."""

    model_config = ConfigDict(json_schema_extra=cel(ONE_SOURCE_OF_VARIABLES))

    prefix: str | None = Field(
        default=None, max_length=256, pattern=ENV_NAME, description="Put before each key to make the variable's name."
    )
    secret_ref: ObjectRef | None = Field(default=None, description="The Secret.")
    config_map_ref: ObjectRef | None = Field(default=None, description="The ConfigMap.")


class EnvVar(ApiModel):
    """One environment variable of the backend's containers."""

    model_config = ConfigDict(json_schema_extra=cel(VALUE_OR_SOURCE))

    name: str = Field(min_length=1, max_length=256, pattern=ENV_NAME, description="Name of the variable.")
    value: str | None = Field(
        default=None, max_length=32768, description="Its value; $(DATABASE_URL) and the like are expanded."
    )
    value_from: ValueSource | None = Field(default=None, description="Its source, as in a pod's env.")


class TolerationOperator(StrEnum):
    """How a toleration looks at a taint's value."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that the pods of the stack tolerate."""

    model_config = ConfigDict(json_schema_extra=cel(*TOLERATION_IS_COMPLETE))

    key: str | None = Field(
        default=None,
        max_length=317,
        pattern=r"^([-a-z0-9.]+/)?([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        description="Key of the taint; empty, with operator Exists, means every taint.",
    )
    operator: TolerationOperator | None = Field(default=None, description="Exists or Equal; left out: Equal.")
    value: str | None = Field(default=None, max_length=63, pattern=LABEL_VALUE, description="Value of the taint.")
    effect: TaintEffect | None = Field(default=None, description="The taint's effect; left out: all.")
    toleration_seconds: int | None = Field(
        default=None, description="How long a NoExecute taint is tolerated, in seconds."
    )


class Scheduling(ApiModel):
    """Where the pods of the stack run."""

    spread: Spread = Field(
        default=Spread.PREFERRED,
        description="Pods of one component on different nodes: if possible (Preferred) or always (Required).",
    )
    node_selector: dict[str, Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]] = Field(
        default={},
        max_length=20,
        description="Labels that a node must have.",
        json_schema_extra=cel(LABEL_KEYS),
    )
    tolerations: list[Toleration] = Field(default=[], max_length=20, description="Taints that are tolerated.")
    priority_class_name: str = Field(
        default="", max_length=253, pattern=DNS_SUBDOMAIN_OR_NOTHING, description="PriorityClass of the pods."
    )


VolumeSize = Annotated[
    Quantity,
    Field(
        description="Size of each volume. It may grow, where the storage class allows it, and never shrinks.",
        json_schema_extra=cel(NEVER_SHRINKS, HOLDS_SOMETHING),
    ),
]


class Storage(ApiModel):
    """The volume of each instance."""

    model_config = ConfigDict(json_schema_extra=cel(SAME_STORAGE_CLASS))

    size: VolumeSize = "1Gi"
    storage_class_name: str | None = Field(
        default=None,
        max_length=253,
        pattern=DNS_SUBDOMAIN_OR_NOTHING,
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

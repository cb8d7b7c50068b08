"""The kinds of objects that a stack is made of: where they live in the API, in which order they are made."""

from dataclasses import dataclass
from urllib.parse import quote

from appstack_operator.api.base import GROUP, KIND, PLURAL, VERSION
from appstack_operator.objects import Object


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: how to reach it, and what the operator may do with it."""

    name: str
    plural: str
    group: str = ""
    version: str = "v1"
    # Made before the kinds further down; pods need what stands above them.
    is_made: bool = True  # the operator makes objects of this kind, and puts right at least their labels
    is_pruned: bool = True  # and takes away those that the spec no longer asks for
    is_optional: bool = False  # a kind that the cluster may not know

    @property
    def api_version(self) -> str:
        """As in a manifest: v1, apps/v1."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "") -> str:
        """The address of the collection (of all namespaces if none is named), or of one object.

        A name stays one step of it: behind a `#` no query would be sent, and so no dryRun=All.
        """
        namespace, name = quote(namespace, safe=""), quote(name, safe="")
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        collection = f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"
        return f"{collection}/{name}" if name else collection


STACK = Kind(KIND, PLURAL, GROUP, VERSION)
EVENT = Kind("Event", "events", "events.k8s.io")
LEASE = Kind("Lease", "leases", "coordination.k8s.io")
NODE = Kind("Node", "nodes")  # of the cluster, in no namespace

# What belongs to a stack, in the order of creation.
CHILDREN = (
    Kind("ServiceAccount", "serviceaccounts"),
    Kind("Role", "roles", "rbac.authorization.k8s.io"),
    Kind("RoleBinding", "rolebindings", "rbac.authorization.k8s.io"),
    Kind("Secret", "secrets"),
    Kind("ConfigMap", "configmaps"),
    # Volumes hold the data: they are observed, grown and kept, never pruned.
    Kind("PersistentVolumeClaim", "persistentvolumeclaims", is_made=False, is_pruned=False),
    Kind("Service", "services"),
    Kind("PodDisruptionBudget", "poddisruptionbudgets", "policy"),
    Kind("NetworkPolicy", "networkpolicies", "networking.k8s.io"),
    Kind("PodMonitor", "podmonitors", "monitoring.coreos.com", is_optional=True),
    Kind("PrometheusRule", "prometheusrules", "monitoring.coreos.com", is_optional=True),
    # A builder may not know all addresses yet and leave a StatefulSet out: that must never take one away.
    Kind("StatefulSet", "statefulsets", "apps", is_pruned=False),
    Kind("Job", "jobs", "batch"),
    Kind("Deployment", "deployments", "apps"),
    Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", "autoscaling", "v2"),
    Kind("CronJob", "cronjobs", "batch"),
    Kind("Pod", "pods", is_made=False, is_pruned=False),
)
BY_NAME = {kind.name: kind for kind in (*CHILDREN, STACK, EVENT, LEASE)}
ORDER = {kind.name: position for position, kind in enumerate(CHILDREN)}


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Which object: enough to read, write or delete it."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Object) -> "Ref":
        """The reference of an object that names its kind."""
        return cls(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])

    def __str__(self) -> str:
        """As people write it: Deployment shop-api."""
        return f"{self.kind} {self.name}"

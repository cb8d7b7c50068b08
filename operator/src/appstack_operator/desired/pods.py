"""What all pods of a stack have in common: security, placement, resources, names in DNS. Pure."""

from collections.abc import Mapping

from appstack_operator.api import AppStack, Resources, Spread
from appstack_operator.desired.context import Context
from appstack_operator.desired.quantities import amount_of
from appstack_operator.objects import Object, selector

# Kubernetes' "restricted" pod security standard, on every pod and container that the operator makes.
RESTRICTED: Mapping[str, object] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def container_security(*, read_only_root: bool = True) -> Object:
    """Security context of a container."""
    return {**RESTRICTED, "readOnlyRootFilesystem": read_only_root}


def pod_security(user_id: int | None = None) -> Object:
    """Security context of a pod; `user_id` also owns its volumes (None: the image's own numeric user)."""
    context: Object = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if user_id is not None:
        context |= {
            "runAsUser": user_id,
            "runAsGroup": user_id,
            "fsGroup": user_id,
            "fsGroupChangePolicy": "OnRootMismatch",
        }
    return context


def resources(wanted: Resources, *, requests: Mapping[str, str], limits: Mapping[str, str]) -> Object:
    """The spec's requests and limits over the operator's defaults; a default gives way to what the spec says."""
    ours = {**requests, **wanted.requests}, {**limits, **wanted.limits}
    for name in ours[0].keys() & ours[1].keys():
        if amount_of(ours[0][name]) > amount_of(ours[1][name]):
            # The API server refuses a request above its limit; at most one of the two is the user's.
            follower, leader = (0, 1) if name in wanted.limits else (1, 0)
            ours[follower][name] = ours[leader][name]
    return {"requests": ours[0], "limits": ours[1]}


def placement(stack: AppStack, component: str) -> Object:
    """The scheduling part of a pod spec: spread over nodes, selector, tolerations, priority."""
    scheduling = stack.spec.scheduling
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule" if scheduling.spread is Spread.REQUIRED else "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(stack, component)},
    }
    part: Object = {"topologySpreadConstraints": [spread], **dns()}
    if scheduling.node_selector:
        part["nodeSelector"] = dict(scheduling.node_selector)
    if scheduling.tolerations:
        part["tolerations"] = [toleration.manifest() for toleration in scheduling.tolerations]
    if scheduling.priority_class_name:
        part["priorityClassName"] = scheduling.priority_class_name
    return part


def pull_secrets(stack: AppStack) -> Object:
    """Who may pull images, as part of a pod spec: a registry of one's own often holds all of them."""
    names = [{"name": item.name} for item in stack.spec.backend.image_pull_secrets]
    return {"imagePullSecrets": names} if names else {}


def dns() -> Object:
    """Full Service names resolve in one query; a lost DNS server costs two seconds, not ten.

    All tries of a look-up go to the server that the first one met, dead or alive (one socket, one connection for
    kube-proxy): a second try helps where a packet was lost, more of them only wait longer for a server that is gone.
    """
    options = [
        {"name": "ndots", "value": "2"},
        {"name": "timeout", "value": "1"},
        {"name": "attempts", "value": "2"},
    ]
    return {"dnsConfig": {"options": options}}


def host_aliases(context: Context, hosts: Mapping[str, str]) -> Object:
    """Hosts (name -> Service) for the pod's own /etc/hosts, as part of a pod spec: they need no DNS server.

    The address of a Service stays as long as the Service. An unknown one is empty: see `knows_its_addresses`.
    """
    aliases = [{"ip": context.addresses.get(service, ""), "hostnames": [host]} for host, service in hosts.items()]
    return {"hostAliases": aliases} if aliases else {}


def knows_its_addresses(manifest: Object) -> bool:
    """Whether all Services that the manifest's pods are to reach had an address when it was built."""
    return all(alias["ip"] for alias in pod_spec_of(manifest).get("hostAliases", ()))


def pod_spec_of(manifest: Object) -> Object:
    """The pod spec inside of a workload's manifest; empty for what runs no pods."""
    spec = manifest.get("spec", {})
    job = spec.get("jobTemplate", {}).get("spec", spec)
    found: Object = job.get("template", {}).get("spec", {})
    return found


def http_probe(path: str, port: int | str, *, period_seconds: int, failures: int, timeout_seconds: int = 5) -> Object:
    """A question over HTTP that has to be answered with 200."""
    return {
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period_seconds,
        "timeoutSeconds": timeout_seconds,
        "failureThreshold": failures,
    }

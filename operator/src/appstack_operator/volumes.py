"""Claims of data services: whose they are, which are too small, and when a claim template may follow. Pure.

A StatefulSet's claim template cannot change. So the claims are grown first; once all of them ask for the new size, the
StatefulSet is deleted without its pods and made again with the new template; it takes the same pods over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from appstack_operator.api import AppStack, Mode
from appstack_operator.desired.quantities import bytes_of
from appstack_operator.desired.stateful import pods_of
from appstack_operator.objects import Object, is_claim_of, is_numbered
from appstack_operator.observed import Observed


@dataclass(frozen=True, slots=True)
class Growth:
    """A claim that has to ask for more."""

    claim: Object
    before: str
    after: str


def members_with_volumes(stack: AppStack) -> dict[str, int]:
    """Component -> how many members the spec asks for, of the services that the operator runs."""
    spec = stack.spec
    services = {
        "postgres": (spec.postgres.mode, spec.postgres.instances),
        "redis": (spec.redis.mode, spec.redis.replicas),
        "rabbitmq": (spec.rabbitmq.mode, spec.rabbitmq.replicas),
    }
    return {component: count for component, (mode, count) in services.items() if mode is Mode.MANAGED}


def claims_to_come(stack: AppStack, seen: Observed) -> dict[str, str]:
    """Claim -> component, of pods that are still to be asked for: what has such a name would be mounted as it is."""
    names: dict[str, str] = {}
    for component, count in members_with_volumes(stack).items():
        live = seen.get("StatefulSet", f"{stack.name}-{component}")
        asked = int(live["spec"]["replicas"]) if live else 0
        pods = pods_of(stack, component, count)[asked:]
        # A pod that is there already has its claim: its StatefulSet is only made again around it.
        names |= {f"data-{pod}": component for pod in pods if not seen.get("Pod", pod)}
    return names


def size_of_template(stateful_set: Object) -> str:
    """What the claim template asks for; empty without one."""
    templates = stateful_set["spec"].get("volumeClaimTemplates") or []
    return str(templates[0]["spec"]["resources"]["requests"]["storage"]) if templates else ""


def size_of(claim: Object) -> str:
    """What a claim asks for."""
    return str(claim["spec"]["resources"]["requests"]["storage"])


def claims_of(stateful_set: Object, seen: Observed) -> list[Object]:
    """The claims of a StatefulSet's pods, also of pods that are gone for now."""
    templates = stateful_set["spec"].get("volumeClaimTemplates") or []
    start = f"{templates[0]['metadata']['name']}-{stateful_set['metadata']['name']}-" if templates else "-"
    found = seen.of_kind("PersistentVolumeClaim")
    return [each for each in found if is_numbered(each["metadata"]["name"], start)]


def growths(wanted: Object, seen: Observed) -> Iterator[Growth]:
    """Claims that ask for less than is wanted; none ever shrinks."""
    size = size_of_template(wanted)
    for claim in claims_of(wanted, seen) if size else ():
        if bytes_of(size_of(claim)) < bytes_of(size) and "deletionTimestamp" not in claim["metadata"]:
            yield Growth(claim, size_of(claim), size)


def template_is_old(wanted: Object, live: Object) -> bool:
    """Whether the live StatefulSet would make claims of another size."""
    return size_of_template(wanted) != size_of_template(live)


def with_claims_of(wanted: Object, live: Object) -> Object:
    """The wanted manifest with the claim template that cannot change for now."""
    return {**wanted, "spec": {**wanted["spec"], "volumeClaimTemplates": kept_templates(wanted, live)}}


def kept_templates(wanted: Object, live: Object) -> list[Object]:
    """Our own templates with the live size: what the API server added to the live ones is not ours."""
    templates: list[Object] = wanted["spec"]["volumeClaimTemplates"]
    requests = {"requests": {"storage": size_of_template(live)}}
    return [{**each, "spec": {**each["spec"], "resources": requests}} for each in templates]


def volumes_as_they_are(stack: AppStack, seen: Observed) -> dict[str, int]:
    """Component -> bytes of the smallest volume of its pods: what the spec asks for, or less until it has grown."""
    spec = stack.spec
    return {
        "postgres": smallest(spec.postgres.storage.size, pods_of(stack, "postgres", spec.postgres.instances), seen),
        "rabbitmq": smallest(spec.rabbitmq.storage.size, pods_of(stack, "rabbitmq", spec.rabbitmq.replicas), seen),
    }


def smallest(size: str, pods: Sequence[str], seen: Observed) -> int:
    """Bytes of the smallest volume that one of these pods has, or of the size where that is less."""
    claims = (seen.get("PersistentVolumeClaim", f"data-{pod}") for pod in pods)
    return min(map(bytes_of, (size, *(has for claim in claims if claim and (has := capacity_of(claim))))))


def capacity_of(claim: Object) -> str:
    """What a claim's volume has; empty while it has none."""
    return str(claim.get("status", {}).get("capacity", {}).get("storage", ""))


def growing(stack: AppStack, seen: Observed) -> Iterator[str]:
    """Claims of ours whose volume has not yet the size that they ask for, in sentences."""
    for claim in seen.of_kind("PersistentVolumeClaim"):
        has = capacity_of(claim) if is_claim_of(stack, claim) else ""
        if has and bytes_of(has) < bytes_of(size_of(claim)):
            yield f"PersistentVolumeClaim {claim['metadata']['name']} grows from {has} to {size_of(claim)}"

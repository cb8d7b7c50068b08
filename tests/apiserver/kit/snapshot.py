"""All objects of a namespace as text that is equal for equal ends: without uids, times, versions, passwords."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from appstack_operator.desired.backend import ENV_CHECKSUM
from appstack_operator.desired.stateful import CONFIG_CHECKSUM
from appstack_operator.kinds import BY_NAME, CHILDREN, STACK
from appstack_operator.ownership import HASH, TEMPLATE_HASH, annotation
from appstack_operator.restarts import REVISION_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appstack_operator.objects import Object
    from tests.apiserver.kit.cast import Cast

VOLATILE = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "observedGeneration",
    "managedFields",
    "lastTransitionTime",
    "startTime",
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "clusterIP",
    "clusterIPs",
    "podIP",
    "podIPs",
    "currentRevision",
    "updateRevision",
    # Made from passwords, which are random, or from the namespace.
    # That they are right is shown by the silence after a restart.
    HASH,
    TEMPLATE_HASH,
    ENV_CHECKSUM,
    CONFIG_CHECKSUM,
    REVISION_LABEL,
}


async def take_snapshot(cast: Cast) -> dict[str, str]:
    """`Kind name` -> its content as JSON."""
    objects = [obj for kind in (*CHILDREN, STACK) for obj in await cast.list(kind)]
    places = {obj["spec"]["clusterIP"]: obj["metadata"]["name"] for obj in objects if obj["kind"] == "Service"}
    places = {place: name for place, name in places.items() if place != "None"}
    return {f"{obj['kind']} {obj['metadata']['name']}": text_of(obj, cast.namespace, places) for obj in objects}


def text_of(obj: Object, namespace: str, places: dict[str, str]) -> str:
    """Content as JSON; the API server chooses the addresses of Services, and the name of a pod's token volume."""
    text = json.dumps(stripped(obj), indent=1, sort_keys=True).replace(namespace, "NAMESPACE")
    text = re.sub(r"\b\d+\.\d+\.\d+\.\d+\b", lambda found: places.get(found[0], found[0]), text)
    return re.sub(r"kube-api-access-\w+", "kube-api-access", text)


async def passwords(cast: Cast) -> dict[str, Any]:
    """Generated Secret -> its data, as it is now."""
    secrets = await cast.list(BY_NAME["Secret"])
    made = [secret for secret in secrets if annotation(secret, HASH) and not secret["metadata"].get("ownerReferences")]
    return {secret["metadata"]["name"]: secret["data"] for secret in made}


def stripped(obj: Object) -> Any:
    """The object without what differs between two runs that are alike."""
    if obj["kind"] == "Secret":
        obj = {**obj, "data": dict.fromkeys(obj.get("data") or {}, "secret")}
    return without_volatile(obj)


def without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_volatile(item) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [without_volatile(item) for item in value]
    return value


def differences(left: dict[str, str], right: dict[str, str]) -> Iterator[str]:
    """Which objects are missing, superfluous or other on the right side."""
    for key in sorted(left.keys() | right.keys()):
        if left.get(key) == right.get(key):
            continue
        if key in left and key in right:
            lines = zip(left[key].splitlines(), right[key].splitlines(), strict=False)
            first = next((pair for pair in lines if pair[0] != pair[1]), ("", "(longer)"))
            yield f"{key}: {first[0].strip()} became {first[1].strip()}"
        else:
            yield f"{key}: {'missing' if key in left else 'superfluous'}"

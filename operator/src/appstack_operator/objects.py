"""The shape that all children share: names, labels, selectors, owner. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import orjson

from appstack_operator.api import AppStack
from appstack_operator.api.base import GROUP, KIND, VERSION

Object = dict[str, Any]

FIELD_MANAGER = "appstack-operator"
API_VERSION = f"{GROUP}/{VERSION}"
STACK_LABEL = f"{GROUP}/stack"
COMPONENT_LABEL = f"{GROUP}/component"
ROLE_LABEL = f"{GROUP}/role"
MANAGER_LABEL = "app.kubernetes.io/managed-by"

ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def selector(stack: AppStack, component: str) -> dict[str, str]:
    """The labels that select the pods of one component, and nothing else; they can never change."""
    return {STACK_LABEL: stack.name, COMPONENT_LABEL: component}


def labels(stack: AppStack, component: str) -> dict[str, str]:
    """All labels of a child of one component."""
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": stack.name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "appstack",
        MANAGER_LABEL: FIELD_MANAGER,
        **selector(stack, component),
    }


def metadata(
    stack: AppStack,
    component: str,
    *,
    name: str | None = None,
    annotations: Mapping[str, str] | None = None,
    owned: bool = True,
) -> Object:
    """Metadata of a child: `shop-COMPONENT` unless named; owned children go when the stack goes."""
    meta: Object = {
        "name": name or f"{stack.name}-{component}",
        "namespace": stack.namespace,
        "labels": labels(stack, component),
    }
    if annotations:
        meta["annotations"] = dict(annotations)
    if owned:
        meta["ownerReferences"] = [owner_reference(stack)]
    return meta


def owner_reference(stack: AppStack) -> Object:
    """The reference by which the garbage collector knows that a child belongs to the stack."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": stack.name,
        "uid": stack.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_of_former_stack(stack: AppStack, obj: Object) -> bool:
    """Whether it belongs to a stack of this name that is gone: Kubernetes is about to collect it."""
    owners = obj["metadata"].get("ownerReferences") or []
    controllers = [owner for owner in owners if owner.get("controller") and owner.get("kind") == KIND]
    return any(
        str(owner.get("apiVersion", "")).startswith(f"{GROUP}/")
        and owner.get("name") == stack.name
        and owner.get("uid") != stack.metadata.uid
        for owner in controllers
    )


def content_hash(content: object, length: int = 16) -> str:
    """Hex digits that are the same for the same content, whatever the order of its keys."""
    return hashlib.sha256(in_order(content)).hexdigest()[:length]


def in_order(content: object) -> bytes:
    """JSON with ordered keys. Both encoders write the same; orjson is the faster one, and refuses large integers."""
    try:
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return ENCODER.encode(content).encode()


def is_numbered(name: str, start: str) -> bool:
    """Whether a name is this start and a number, as those of a StatefulSet's pods and claims are."""
    return name.startswith(start) and name[len(start) :].isdecimal()


def is_member(stack: AppStack, pod: Object) -> bool:
    """Whether a pod is one of the StatefulSet of its component, by its name: labels may be copied, as debuggers do."""
    return is_numbered(pod["metadata"]["name"], f"{stack.name}-{component_of(pod)}-")


def is_claim_of(stack: AppStack, claim: Object) -> bool:
    """Whether a claim was made for a pod of a stack of this name: its name and labels are those of our template.

    The label of the stack alone says nothing: users put it on what is theirs. Nor does a name: any tool may use it.
    """
    meta, component = claim["metadata"], component_of(claim)
    ours = {MANAGER_LABEL: FIELD_MANAGER, **selector(stack, component)}
    is_named = is_numbered(str(meta["name"]), f"data-{stack.name}-{component}-")
    return bool(component) and is_named and ours.items() <= (meta.get("labels") or {}).items()


def component_of(obj: Object) -> str:
    """The component that an object is labelled with; empty if none."""
    return str((obj["metadata"].get("labels") or {}).get(COMPONENT_LABEL, ""))

"""The end of a stack: owned children are collected by Kubernetes, the rest is kept or deleted as the spec says."""

import logging

from appstack_operator.api import AppStack, DeletionPolicy
from appstack_operator.client import Api
from appstack_operator.kinds import BY_NAME, Ref
from appstack_operator.objects import STACK_LABEL, Object
from appstack_operator.ownership import HASH, annotation

logger = logging.getLogger(__name__)

# Patroni's own memory has neither our label (it changes with every loop) nor an owner.
PATRONI_CONFIG_MAPS = ("config", "leader", "failover", "sync", "failsafe")


async def clean_up(api: Api, live: Object) -> None:
    """With deletionPolicy Delete, take away what has no owner; with Retain, leave it for a stack of this name.

    Patroni's memory stays with the volumes: it knows which of them holds the newest data.
    """
    stack = AppStack.model_validate({"metadata": live["metadata"], "spec": policy_of(live)})
    if stack.spec.deletion_policy is DeletionPolicy.RETAIN:
        logger.info("volumes and credentials are retained")
        return
    selector = f"{STACK_LABEL}={stack.name}"
    for claim in await api.list(BY_NAME["PersistentVolumeClaim"], stack.namespace, selector):
        await api.delete(Ref.of(claim), claim["metadata"]["uid"])
    for secret in await api.list(BY_NAME["Secret"], stack.namespace, selector):
        if annotation(secret, HASH):
            await api.delete(Ref.of(secret), secret["metadata"]["uid"])
    for part in PATRONI_CONFIG_MAPS:
        await api.delete(Ref("ConfigMap", stack.namespace, f"{stack.name}-postgres-{part}"))


def policy_of(live: Object) -> Object:
    """The one field that matters now: a spec that is otherwise invalid must not block its deletion."""
    policy = (live.get("spec") or {}).get("deletionPolicy")
    return {"deletionPolicy": policy} if policy in set(DeletionPolicy) else {}

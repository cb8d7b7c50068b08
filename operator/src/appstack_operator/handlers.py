"""The door to kopf: wakes a stack's daemon, which runs passes. Decides nothing."""

import asyncio
import dataclasses
import os
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import kopf

from appstack_operator import metrics
from appstack_operator.api.base import GROUP, PLURAL, VERSION
from appstack_operator.client import address_in_cluster
from appstack_operator.converge import Operator, run_pass
from appstack_operator.health import Health
from appstack_operator.kinds import CHILDREN
from appstack_operator.lifecycle import clean_up
from appstack_operator.objects import STACK_LABEL
from appstack_operator.probe import rest
from appstack_operator.wakeups import Wakeups

FINALIZER = f"{GROUP}/finalizer"
# Many events come together (a rollout): one pass for all of them, and no more than one in this time.
PAUSE_SECONDS = 0.3


class NoDiffBase(kopf.DiffBaseStorage):
    """kopf would keep a copy of each spec in an annotation; passes compare with what is there instead."""

    def fetch(self, *, body: kopf.Body) -> None:
        """Nothing was kept."""

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Keep nothing."""


def build_registry(operator: Operator, health: Health) -> kopf.OperatorRegistry:
    """All handlers."""
    registry = kopf.OperatorRegistry()
    wakeups = Wakeups()
    # A pass and a clean-up of the same stack must not meet: the pass could make again what was cleaned.
    locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
    stacks = (GROUP, VERSION, PLURAL)

    @kopf.on.login(registry=registry)
    def log_in(**arguments: Any) -> kopf.ConnectionInfo | None:
        in_cluster = kopf.login_with_service_account(**arguments)
        # kopf would look the API server up by name: a lost name server must not blind the operator.
        if in_cluster and (address := address_in_cluster(os.environ)):
            return dataclasses.replace(in_cluster, server=address)
        return in_cluster or kopf.login_with_kubeconfig(**arguments)

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        apply_settings(settings)

    @kopf.on.event(*stacks, registry=registry)
    async def stack_changed(*, namespace: Any, name: str, **_: Any) -> None:
        wakeups.wake(namespace, name)

    @kopf.daemon(*stacks, registry=registry, cancellation_timeout=10)
    async def keep_converged(*, namespace: Any, name: str, stopped: kopf.DaemonStopped, **_: Any) -> None:
        while not stopped:
            wakeups.clear(namespace, name)
            async with locks[namespace, name]:
                with health.working(f"{namespace}/{name}"):
                    delay_seconds = await run_pass(operator, namespace, name)
            await stopped.wait(PAUSE_SECONDS)
            if not stopped:
                key = (namespace, name)
                look = operator.looks.get(key)
                every_seconds = operator.settings.poll_seconds
                resting = rest(operator.api, look, operator.scaling, wakeups, key, delay_seconds, every_seconds)
                await first_of(resting, stopped.wait(delay_seconds))

    @kopf.on.delete(*stacks, registry=registry, backoff=5)
    async def stack_deleted(*, body: kopf.Body, namespace: Any, name: str, **_: Any) -> None:
        async with locks[namespace, name]:
            if not await clean_up(operator.api, dict(body), datetime.now(UTC)):
                raise kopf.TemporaryError("PostgreSQL has to end before its ConfigMaps can go", delay=2)
        metrics.show_conditions(namespace, name, {})
        wakeups.forget(namespace, name)
        operator.forget(namespace, name)

    async def child_changed(*, namespace: Any, labels: kopf.Labels, **_: Any) -> None:
        wakeups.wake(namespace, labels[STACK_LABEL])

    for kind in CHILDREN:
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, labels={STACK_LABEL: kopf.PRESENT})(
            child_changed
        )
    return registry


async def first_of(*waits: Any) -> None:
    """Return when the first of them does, and drop the others."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    _, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()


def apply_settings(settings: kopf.OperatorSettings) -> None:
    """How kopf behaves: no writes of its own but the finalizer, and only our children are watched."""
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.networking.request_timeout = 10  # shorter than the Lease: kopf writes the finalizer
    settings.scanning.disabled = True  # no rights on CRDs and namespaces are needed then
    settings.watching.server_timeout = 300
    for kind in CHILDREN:
        place = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        settings.watching.label_selectors[place] = STACK_LABEL


async def run(operator: Operator, health: Health) -> None:
    """Watch and converge until the process is told to stop."""
    namespaces = operator.settings.watch_namespaces
    await kopf.operator(
        registry=build_registry(operator, health),
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
    )

"""The door to kopf: watches, and wakes a stack's task, which runs passes. Decides and writes nothing."""

import asyncio
import dataclasses
import os
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import kopf

from appstack_operator.api.base import GROUP, PLURAL, VERSION
from appstack_operator.client import address_in_cluster
from appstack_operator.daemons import Daemons
from appstack_operator.kinds import CHILDREN
from appstack_operator.news import News, Urgency, version_of
from appstack_operator.objects import STACK_LABEL, Object
from appstack_operator.settings import Settings
from appstack_operator.stopping import end, minding_signals

# When one watch fails, kopf cancels all others together with the flags by which they tell being cancelled from being
# paused: some take the one for the other, go on with a closed session, and kopf waits for them without an end.
END_SECONDS = 15.0
TOLD_SECONDS = 5.0  # the pod is given half a minute to end, passes and the Lease included
# At a start all objects of all stacks come at once. Lists are read in parts, and kopf's task for an object, which
# holds on to what it was told last, does not wait long for more.
CHUNK = 100
IDLE_SECONDS = 0.5


class ForEver:
    """Pauses between attempts without an end: an API server that is away is waited for, however long it takes."""

    def __iter__(self) -> Iterator[float]:
        """Longer and longer, up to ten seconds."""
        return chain((0.5, 1.0, 2.0, 5.0), repeat(10.0))


class WatchingEndedError(Exception):
    """Nobody told it to."""


def build_registry(daemons: Daemons) -> kopf.OperatorRegistry:
    """All handlers. None of them makes kopf write: its finalizers and annotations belong to handlers of other kinds."""
    registry = kopf.OperatorRegistry()
    news = News()

    @kopf.on.login(registry=registry)
    def log_in(**arguments: Any) -> kopf.ConnectionInfo | None:
        in_cluster = kopf.login_with_service_account(**arguments)
        # kopf would look the API server up by name: a lost name server must not blind the operator.
        if in_cluster and (address := address_in_cluster(os.environ)):
            return dataclasses.replace(in_cluster, server=address)
        return in_cluster or kopf.login_with_kubeconfig(**arguments)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def stack_changed(*, event: kopf.RawEvent, namespace: Any, name: str, **_: Any) -> None:
        stack: Object = dict(event["object"])
        urgency = news.urgency(event["type"], stack)
        if event["type"] == "DELETED":
            daemons.wake(namespace, name)
        elif urgency is Urgency.NOW:
            daemons.see(namespace, name, stack["metadata"].get("generation", 0))

    async def child_changed(*, event: kopf.RawEvent, namespace: Any, labels: kopf.Labels, **_: Any) -> None:
        child: Object = dict(event["object"])
        urgency = news.urgency(event["type"], child)
        # Of an object that is gone no pass has read that.
        version = None if event["type"] == "DELETED" else version_of(child)
        if urgency is Urgency.NOW:
            daemons.wake(namespace, labels[STACK_LABEL], version)
        elif urgency is Urgency.LATER:
            daemons.wake_later(namespace, labels[STACK_LABEL], version)

    for kind in CHILDREN:
        if kind.is_optional:
            continue  # a watch of a kind that is not served would never end its complaints; the next pass looks
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, labels={STACK_LABEL: kopf.PRESENT})(
            child_changed
        )
    return registry


class NoDiffs(kopf.DiffBaseStorage):
    """Handlers of events need no difference to a former state: kopf would copy each object twice to find it."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Nothing was kept."""
        return None

    def store(self, **_: Any) -> None:
        """Keep nothing."""


def build_settings(own: Settings) -> kopf.OperatorSettings:
    """How kopf behaves: only our children are watched, and no lost connection is the end of a watch."""
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None  # it would kill the process ten minutes after a watch broke off
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = NoDiffs()
    settings.networking.request_timeout = 10
    settings.networking.error_backoffs = ForEver()
    settings.scanning.disabled = True  # no rights on CRDs and namespaces are needed then
    settings.watching.server_timeout = 300
    settings.watching.chunk_size = CHUNK
    settings.queueing.idle_timeout = IDLE_SECONDS
    settings.watching.inactivity_timeout = own.watch_silence_seconds
    for kind in CHILDREN:
        place = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        settings.watching.label_selectors[place] = STACK_LABEL
    return settings


async def run(daemons: Daemons, settings: Settings) -> None:
    """Watch until the process is told to stop; raises when watching ends by itself, whatever kopf thinks of it.

    kopf's own runner would in the end cancel all that has begun since it began: passes in the middle of a write.
    """
    is_told, namespaces = asyncio.Event(), settings.watch_namespaces
    with minding_signals(is_told) as mind_signals:
        roots = await kopf.spawn_tasks(
            registry=build_registry(daemons),
            settings=build_settings(settings),
            clusterwide=not namespaces,
            namespaces=namespaces,
            standalone=True,
        )
        mind_signals()
        told = asyncio.create_task(is_told.wait())
        try:
            await asyncio.wait({*roots, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            await end(roots, kopf.__name__, TOLD_SECONDS if is_told.is_set() else END_SECONDS)
    errors = [error for root in roots if root.done() and not root.cancelled() and (error := root.exception())]
    if not is_told.is_set():
        raise errors[0] if errors else WatchingEndedError

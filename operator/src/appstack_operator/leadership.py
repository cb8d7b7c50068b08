"""Holds the operator's Lease: takes it by compare-and-set, renews it, gives it back on a clean end."""

import asyncio
import logging
import os
import random
import socket
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from appstack_operator import metrics
from appstack_operator.client import Api, ApiError
from appstack_operator.fence import Fence, clock
from appstack_operator.health import Health
from appstack_operator.kinds import LEASE, Ref
from appstack_operator.lease import Sighting, Step, Terms, build_spec, decide, expires_at, sight
from appstack_operator.objects import Object

logger = logging.getLogger(__name__)

JITTER = 0.2
AGAIN_SECONDS = 0.5  # after a renewal that has failed: until the Lease has to be given up there is time for few
Names = Callable[[], Collection[str]]
HEARD = "appstack.dev/nodes-heard"  # an annotation of the Lease: the nodes that have answered its holder
MOST_HEARD = 65_536  # characters of it: with more than 256 KiB of annotations each renewal would be refused


def new_identity() -> str:
    """Who this process is: a restarted container has the name of its pod, but not the Lease of its forerunner."""
    return f"{socket.gethostname()}_{os.urandom(4).hex()}"


class Leadership:
    """One candidate for one Lease. Its connection is its own: no queue of other requests can delay a renewal."""

    def __init__(self, api: Api, ref: Ref, terms: Terms, fence: Fence, health: Health) -> None:
        """Nothing may be written from here on, until the Lease is held."""
        self.identity = new_identity()
        self.heard: Names = tuple  # what a successor is to know: it goes along with renewals
        self._api, self._ref, self._terms, self._fence, self._health = api, ref, terms, fence, health
        self._seen: Sighting | None = None
        self._answered_at = clock()
        self._has_failed = False
        self._fence.close()
        metrics.IS_LEADER.set(0)

    async def acquire(self) -> None:
        """Return once the Lease is held."""
        logger.info("waiting for %s as %s", self._ref, self.identity)
        while True:
            if await self._attempt():
                break
            await asyncio.sleep(self._pause_seconds())
        metrics.IS_LEADER.set(1)
        logger.info("holding %s", self._ref)

    def left(self) -> list[str]:
        """The nodes that had answered whoever held the Lease before."""
        return names_in(self._seen)

    async def keep(self) -> None:
        """Renew for ever; the process ends when somebody else holds it, or when no renewal succeeds in time."""
        while True:
            await asyncio.sleep(self._pause_seconds())
            try:
                await self._attempt()
            except Exception:
                logger.exception("%s: a defect; the Lease runs out unless the next renewal succeeds", self._ref)

    async def release(self) -> None:
        """Give it back, so that the next one need not wait. Only when nothing is left that could write."""
        self._fence.close()
        metrics.IS_LEADER.set(0)
        try:
            self._seen = await self._look()  # a last renewal that was cut off may have been carried out all the same
            if self._seen.holder == self.identity:
                await self._patch(self._seen, {"holderIdentity": None, "renewTime": stamp()})
                logger.info("gave %s back", self._ref)
        except ApiError as error:
            logger.warning("%s could not be given back, it will run out: %s", self._ref, error.message)

    async def _attempt(self) -> bool:
        """Look, decide, act; whether the Lease is held now."""
        is_holder = self._fence.is_open
        begun = clock()
        try:
            if not is_holder or self._seen is None:
                self._seen = await self._look()
                self._note_answer()
            step = decide(self._seen, self.identity, clock(), self._terms)
            if step is Step.WAIT:
                if is_holder:
                    self._fence.lose(f"{self._ref} is held by {self._seen.holder}")
                return False
            self._seen = Sighting(await self._write(step, self._seen), begun)
            self._note_answer()
        except ApiError as error:
            self._has_failed = True
            logger.warning("%s: %s", self._ref, error.message)
            if clock() - self._answered_at > self._terms.lease_seconds:
                self._health.is_ready = False
            if error.status in (404, 409):
                await self._look_again(is_holder)
            return False
        finally:
            self._health.beat("lease")
        self._has_failed = False
        self._fence.hold_until(begun + self._terms.hold_seconds)
        return True

    def _note_answer(self) -> None:
        """A candidate is ready as long as it could take over: while it may read the Lease, and is answered."""
        self._answered_at = clock()
        self._health.is_ready = True

    async def _look(self) -> Sighting:
        """What the Lease is now."""
        return sight(self._seen, await self._api.get(self._ref), clock())

    async def _look_again(self, is_holder: bool) -> None:
        """Somebody changed it under us: who?"""
        try:
            self._seen = await self._look()
        except ApiError as error:
            logger.warning("%s: %s", self._ref, error.message)
            return
        if is_holder and self._seen.holder not in ("", self.identity):
            self._fence.lose(f"{self._ref} is held by {self._seen.holder}")

    async def _write(self, step: Step, seen: Sighting) -> Object:
        spec = build_spec(seen, self.identity, datetime.now(UTC), self._terms)
        if step is not Step.CREATE:
            return await self._patch(seen, spec)
        metadata = {"name": self._ref.name, "namespace": self._ref.namespace}
        return await self._api.create(
            {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}
        )

    async def _patch(self, seen: Sighting, spec: Object) -> Object:
        """Change exactly the state that was seen: anybody's change in between is a conflict."""
        meta: Object = {"resourceVersion": seen.version}
        note = ",".join(names := sorted(self.heard()))
        if names and names != names_in(seen) and len(note) <= MOST_HEARD:
            meta["annotations"] = {HEARD: note}
        return await self._api.patch(self._ref, {"metadata": meta, "spec": spec})

    def _pause_seconds(self) -> float:
        """Until the next look: never past the moment at which the Lease could be taken."""
        spread = 1 + JITTER * random.random()  # noqa: S311  # spreads load, hides nothing
        if self._fence.is_open:
            return (AGAIN_SECONDS if self._has_failed else self._terms.renew_every_seconds) * spread
        pause = self._terms.look_every_seconds * spread
        if self._seen is None or not self._seen.holder:
            return pause
        left_seconds = expires_at(self._seen, self._terms) - clock()
        # Where it could not be taken in its moment nobody answers, or somebody was faster: as often as ever, then.
        return max(0.05, min(pause, left_seconds)) if left_seconds > 0 else pause


def names_in(seen: Sighting | None) -> list[str]:
    """The nodes that a Lease names; none where nobody has written any."""
    notes = ((seen.lease if seen else None) or {}).get("metadata", {}).get("annotations") or {}
    return [name for name in str(notes.get(HEARD, "")).split(",") if name]


def stamp() -> str:
    """Now, as a Lease writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

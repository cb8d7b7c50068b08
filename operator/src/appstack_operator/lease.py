"""Who may write: decides over the operator's Lease. Pure: no IO, no clock, no randomness.

Clocks of two machines are never compared. A candidate measures by its own clock for how long it has seen no renewal;
a holder counts from before it sent its last renewal. So the holder always falls silent first.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from appstack_operator.objects import Object


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a Lease lasts and how often it is renewed; all in seconds."""

    lease_seconds: float = 13.0  # a candidate takes over after so long without a renewal
    hold_seconds: float = 8.0  # a holder stops so long after the begin of its last renewal
    write_seconds: float = 4.5  # no write takes longer
    renew_every_seconds: float = 2.0
    look_every_seconds: float = 1.0  # a candidate; what it sees late is taken late
    request_seconds: float = 3.0  # a renewal that is not answered by then has failed

    def __post_init__(self) -> None:
        """A write that began in the last moment must have ended before another may begin."""
        if self.hold_seconds + self.write_seconds >= self.lease_seconds:
            raise ValueError("the last write of a holder could meet the first one of its successor")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease, and since when (by the own clock) it has looked like this; `lease` None: there was none."""

    lease: Object | None
    since: float

    @property
    def holder(self) -> str:
        """Who holds it; empty: nobody."""
        return str(spec_of(self.lease).get("holderIdentity") or "")

    @property
    def version(self) -> str:
        """What a change of it has to name, so that it changes exactly this state."""
        return str(self.lease["metadata"].get("resourceVersion", "")) if self.lease else ""


def spec_of(lease: Object | None) -> dict[str, Any]:
    """What a Lease says; nothing where there is none."""
    return (lease or {}).get("spec") or {}


def sight(before: Sighting | None, lease: Object | None, now: float) -> Sighting:
    """What is seen now; as long as nobody renews it, a Lease keeps the age that it has."""
    if before is not None and lease is not None and spec_of(lease) == spec_of(before.lease):
        return Sighting(lease, before.since)
    if before is not None and before.holder and lease is None:
        # Somebody deleted it under a holder, who may not know it yet: wait it out.
        return Sighting({"metadata": {}, "spec": spec_of(before.lease)}, before.since)
    return Sighting(lease, now)


class Step(Enum):
    """What to do about a Lease."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"


def decide(seen: Sighting, identity: str, now: float, terms: Terms) -> Step:
    """The next step of somebody who wants to hold the Lease, or to go on holding it."""
    if seen.holder == identity and seen.version:
        return Step.RENEW
    if seen.holder not in ("", identity) and now < expires_at(seen, terms):
        return Step.WAIT
    return Step.TAKE if seen.version else Step.CREATE


def expires_at(seen: Sighting, terms: Terms) -> float:
    """When a Lease that nobody renews may be taken, by the own clock."""
    # The holder may be of a version with other terms: the longer ones are safe.
    promised = float(spec_of(seen.lease).get("leaseDurationSeconds") or 0)
    return seen.since + max(promised, terms.lease_seconds)


def build_spec(seen: Sighting, identity: str, now: datetime, terms: Terms) -> dict[str, Any]:
    """What a Lease says once it is ours; `now` is for people, nobody decides by it."""
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    before = spec_of(seen.lease)
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": int(terms.lease_seconds),
        "acquireTime": before.get("acquireTime", stamp),
        "renewTime": stamp,
        "leaseTransitions": int(before.get("leaseTransitions") or 0),
    }
    if seen.holder != identity:
        spec |= {"acquireTime": stamp, "leaseTransitions": spec["leaseTransitions"] + 1}
    return spec

"""What a person at the cluster would see meanwhile: the stack's conditions and who carries which role, with times."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from appstack_lab import client
from tests.chaos.site import Unanswered, queue_leader

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.site import Site

EVERY_SECONDS = 0.5
QUEUE_SECONDS = 2.0  # the longest wait for an answer
ROLE_LABEL = "appstack.dev/role"


class State(NamedTuple):
    """What one look found of one thing."""

    status: str
    reason: str
    since: str = ""  # a condition's lastTransitionTime: another one tells of what came and went between two looks


UNSEEN = State("Unknown", "")


@dataclass(frozen=True, slots=True)
class Change:
    """One condition that changed, or one role that moved (reason "role")."""

    at: float  # monotonic
    kind: str
    status: str
    reason: str


@dataclass
class Watch:
    """Looks twice a second in a thread of its own.

    An API server that does not answer is no change: what came and went meanwhile shows by its time of transition.
    """

    site: Site
    amqp_url: str = ""  # where RabbitMQ is asked who leads the queue; empty: nobody asks
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen: dict[str, State] = {}
        self._is_answered = False
        self._stop = threading.Event()
        # The queue by itself: a RabbitMQ that does not answer must not hold up the looks at the stack.
        looks = [self._look, *([self.look_at_queue] if self.amqp_url else [])]
        self._threads = [threading.Thread(target=self._run, args=(look,), daemon=True) for look in looks]

    def __enter__(self) -> Watch:
        self._look()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, look: Callable[[], None]) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            look()

    def look_at_queue(self) -> None:
        """Who leads the queue. No answer is no change: a Service may lead to whom a fault has struck."""
        try:
            leader = queue_leader(self.amqp_url, QUEUE_SECONDS)
        except Unanswered:
            return
        self._keep(time.monotonic(), {"leader": State(leader or "nobody", "role")})

    def _look(self) -> None:
        prefix = f"/apis/appstack.dev/v1alpha1/namespaces/{self.site.namespace}/appstacks/{self.site.name}"
        stack = self._ask(prefix)
        pods = self._ask(f"/api/v1/namespaces/{self.site.namespace}/pods?labelSelector={ROLE_LABEL}")
        now = time.monotonic()
        self.note(now, conditions_of(stack) if stack else None)
        if pods:
            self._keep(now, roles_of(pods["items"]))

    def _ask(self, path: str) -> dict[str, Any] | None:
        status, body = client.get(self.site.cluster, path)
        return json.loads(body) if status == 200 else None

    def note(self, now: float, found: dict[str, State] | None) -> None:
        """What a look found of the stack; None: no answer."""
        self._is_answered = found is not None
        self._keep(now, found or {})

    def _keep(self, now: float, found: dict[str, State]) -> None:
        for kind, state in found.items():
            if self._seen.get(kind) != state:
                self.changes.append(Change(now, kind, state.status, state.reason))
        self._seen.update(found)

    def now(self, kind: str) -> str:
        """The status of a condition; Unknown where the last look had no answer."""
        return self._seen.get(kind, UNSEEN).status if self._is_answered else UNSEEN.status


def conditions_of(stack: dict[str, Any]) -> dict[str, State]:
    """By type. Conditions that are present only while true read False when they are gone."""
    found = dict.fromkeys(("Reconciling", "Stalled"), State("False", ""))
    for each in stack.get("status", {}).get("conditions", []):
        found[each["type"]] = State(each["status"], each["reason"], each["lastTransitionTime"])
    return found


def roles_of(pods: list[dict[str, Any]]) -> dict[str, State]:
    """Who leads PostgreSQL and Redis, by the labels that `-rw` follows."""
    found = {}
    for role in ("primary", "master"):
        names = sorted(p["metadata"]["name"] for p in pods if p["metadata"]["labels"].get(ROLE_LABEL) == role)
        found[role] = State(" ".join(names) or "nobody", "role")
    return found

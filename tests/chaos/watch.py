"""What a person at the cluster would see meanwhile: the stack's conditions and who carries which role, with times."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from appstack_lab import client

if TYPE_CHECKING:
    from tests.chaos.site import Site

EVERY_SECONDS = 0.5
ROLE_LABEL = "appstack.dev/role"
LOOK = "look"  # the kind of a change that says whether there is an answer


@dataclass(frozen=True, slots=True)
class Change:
    """One condition that changed, one role that moved (reason "role"), or whether there is an answer (LOOK)."""

    at: float  # monotonic
    kind: str
    status: str
    reason: str


@dataclass
class Watch:
    """Looks twice a second in a thread of its own; an API server that does not answer is no change."""

    site: Site
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen: dict[str, tuple[str, str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._look()

    def _look(self) -> None:
        prefix = f"/apis/appstack.dev/v1alpha1/namespaces/{self.site.namespace}/appstacks/{self.site.name}"
        stack = self._ask(prefix)
        pods = self._ask(f"/api/v1/namespaces/{self.site.namespace}/pods?labelSelector={ROLE_LABEL}")
        now = time.monotonic()
        self._note(now, {LOOK: ("True" if stack else "False", LOOK)})
        if stack:
            self._note(now, conditions_of(stack))
        if pods:
            self._note(now, roles_of(pods["items"]))

    def _ask(self, path: str) -> dict[str, Any] | None:
        status, body = client.get(self.site.cluster, path)
        return json.loads(body) if status == 200 else None

    def _note(self, now: float, found: dict[str, tuple[str, str]]) -> None:
        for kind, (status, reason) in found.items():
            if self._seen.get(kind) != (status, reason):
                self.changes.append(Change(now, kind, status, reason))
        self._seen.update(found)

    def now(self, kind: str) -> str:
        """The status of a condition when it was last seen."""
        return self._seen.get(kind, ("Unknown", ""))[0]


def conditions_of(stack: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Type -> (status, reason). Conditions that are present only while true read False when they are gone."""
    found = dict.fromkeys(("Reconciling", "Stalled"), ("False", ""))
    for each in stack.get("status", {}).get("conditions", []):
        found[each["type"]] = (each["status"], each["reason"])
    return found


def roles_of(pods: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Who leads PostgreSQL and Redis, by the labels that `-rw` follows."""
    found = {}
    for role in ("primary", "master"):
        names = sorted(p["metadata"]["name"] for p in pods if p["metadata"]["labels"].get(ROLE_LABEL) == role)
        found[role] = (" ".join(names) or "nobody", "role")
    return found

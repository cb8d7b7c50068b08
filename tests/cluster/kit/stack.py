"""An AppStack under test, as its users see it: applied with kubectl, judged by its conditions, used over its API."""

from __future__ import annotations

import base64
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import httpx

from tests.cluster.kit.kube import Kube, Object, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

HANG_LIMIT_SECONDS = 300
READY_LIMIT_SECONDS = 900  # five times the aim of three minutes
FINAL_STATES = {"succeeded", "failed", "cancelled"}
API_PORT = 8000


def is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@dataclass(frozen=True)
class Stack:
    """One AppStack NAME in NAMESPACE."""

    kube: Kube
    namespace: str
    name: str = "shop"

    def object(self) -> Object:
        return self.kube.get("appstack", self.name, "-n", self.namespace)

    def condition(self, kind: str) -> Object:
        """The condition of that type; empty where it is absent."""
        found = self.object().get("status", {}).get("conditions", [])
        return next((c for c in found if c["type"] == kind), {})

    def wait_for(self, kind: str, status: str = "True", reason: str = "", limit: float = READY_LIMIT_SECONDS) -> Object:
        """Wait for a condition that speaks of the current generation."""

        def holds() -> Object | None:
            stack = self.object()
            for seen in stack.get("status", {}).get("conditions", []):
                current = seen.get("observedGeneration", 0) >= stack["metadata"]["generation"]
                if seen["type"] == kind and seen["status"] == status and current and reason in ("", seen["reason"]):
                    return dict(seen)
            return None

        found = wait_until(holds, f"{kind}={status} {reason} of {self.name}", limit)
        assert found is not None
        return found

    def wait_until_settled(self) -> None:
        """Wait until the operator has nothing under way: Ready, and no Reconciling condition."""
        self.wait_for("Ready")
        wait_until(lambda: not self.condition("Reconciling"), f"{self.name} is not Reconciling", READY_LIMIT_SECONDS)

    def pods(self, component: str) -> list[Object]:
        labels = f"appstack.dev/stack={self.name},appstack.dev/component={component}"
        return self.kube.items("pods", "-n", self.namespace, "-l", labels)

    def lasting_pods(self, component: str) -> list[Object]:
        """Without those that are on their way out, which may take a while."""
        return [pod for pod in self.pods(component) if "deletionTimestamp" not in pod["metadata"]]

    def leader(self, component: str, role: str) -> str:
        """The pod that leads a service, once it is one alone."""
        wanted = f"one {role} of {self.name}"
        return wait_until(lambda: self._one_with_role(component, role), wanted, READY_LIMIT_SECONDS)

    def wait_for_another(self, component: str, role: str, before: str) -> None:
        """Wait until somebody else leads a service, though the former leader's label may still be there."""

        def is_there() -> bool:
            return bool(set(self.names_with_role(component, role)) - {before})

        wait_until(is_there, f"a new {role}", HANG_LIMIT_SECONDS)

    def _one_with_role(self, component: str, role: str) -> str:
        names = self.names_with_role(component, role)
        return names[0] if len(names) == 1 else ""

    def names_with_role(self, component: str, role: str) -> list[str]:
        pods = [pod["metadata"] for pod in self.pods(component)]
        return [pod["name"] for pod in pods if pod["labels"].get("appstack.dev/role") == role]

    def newest_ready_pod(self, component: str) -> str:
        """One that a rollout replaces may serve on until it has drained, and ends in the middle of a test."""

        def name() -> str | None:
            ready = [pod["metadata"] for pod in self.lasting_pods(component) if is_ready(pod)]
            return max(ready, key=itemgetter("creationTimestamp"))["name"] if ready else None

        found = wait_until(name, f"a pod of {component} is ready", READY_LIMIT_SECONDS)
        assert found is not None
        return found

    def secret(self, name: str, key: str) -> str:
        data = self.kube.get("secret", name, "-n", self.namespace)["data"]
        return base64.b64decode(data[key]).decode()

    @contextmanager
    def api(self) -> Iterator[Api]:
        """A client with the first admin token."""
        token = self.secret(f"{self.name}-api-token", "token")
        with (
            self.kube.port_forward(f"pod/{self.newest_ready_pod('api')}", API_PORT, self.namespace) as port,
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}, timeout=120
            ) as client,
        ):
            yield Api(client)


@dataclass(frozen=True)
class Api:
    """The backend's API."""

    http: httpx.Client

    def post_feed(self, body: bytes | Iterator[bytes], content_type: str = "text/csv", **headers: str) -> Object:
        """Start an import; the accepted job."""
        answer = self.http.post("/v1/imports", content=body, headers={"Content-Type": content_type, **headers})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        job: Object = answer.json()
        assert answer.headers["Location"].endswith(f"/v1/imports/{job['id']}")
        return job

    def job(self, job_id: str) -> Object:
        answer = self.http.get(f"/v1/imports/{job_id}")
        assert answer.is_success, answer.text
        job: Object = answer.json()
        return job

    def wait_for_job(self, job_id: str, limit: float = 600) -> Object:
        def ended() -> Object | None:
            job = self.job(job_id)
            return job if job["state"] in FINAL_STATES else None

        job = wait_until(ended, f"import {job_id} ended", limit)
        assert job is not None
        return job

    def errors(self, job_id: str) -> list[Object]:
        """All row errors of an import, over every page."""
        return list(self._pages(f"/v1/imports/{job_id}/errors"))

    def products(self, **filters: Any) -> Iterator[Object]:
        """Every product, page by page."""
        return self._pages("/v1/products", limit=500, **filters)

    def _pages(self, path: str, **query: Any) -> Iterator[Object]:
        cursor: str | None = None
        while True:
            answer = self.http.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
            assert answer.is_success, answer.text
            page = answer.json()
            yield from page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return

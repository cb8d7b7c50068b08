"""A real API server tells a claim's own events, written as Kubernetes' controllers write them, and no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from appstack_operator.assess.claims import cause_of
from appstack_operator.observe import observe_claim_events
from appstack_operator.observed import Observed
from tests.apiserver.kit.convergence import Convergence
from tests.apiserver.kit.plugin import write_kubeconfig
from tests.unit.operator.factories import a_stack

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from appstack_operator.objects import Object
    from tests.apiserver.kit.server import BareCluster

NAMESPACE = "shop"  # of a_stack()
CLAIM = "data-shop-postgres-0"


def post(client: httpx.Client, path: str, body: Object) -> Object:
    answer = client.post(path, json=body).raise_for_status()
    made: Object = answer.json()
    return made


def a_failure(claim: Object, words: str) -> Object:
    """As the controller of volumes writes it: an event of the old API, without eventTime."""
    meta, now = claim["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": NAMESPACE}
    return {
        "metadata": {"name": f"{meta['name']}.1", "namespace": NAMESPACE},
        "involvedObject": {**about, "name": meta["name"], "uid": meta["uid"]},
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "message": words,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def a_claim(name: str) -> Object:
    resources = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": resources}
    return {"metadata": {"name": name}, "spec": spec}


def test_a_claim_is_told_its_own_cause(cluster: BareCluster, folder: Path) -> None:
    core = f"/api/v1/namespaces/{NAMESPACE}"
    with cluster.client() as client:
        post(client, "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        claims = [post(client, f"{core}/persistentvolumeclaims", a_claim(name)) for name in (CLAIM, "of-others")]
        words = ('storageclass.storage.k8s.io "fast" not found', "something else")
        for claim, said in zip(claims, words, strict=True):
            post(client, f"{core}/events", a_failure(claim, said))
    pod = {"metadata": {"name": "p"}, "spec": {"volumes": [{"persistentVolumeClaim": {"claimName": CLAIM}}]}}
    by_name = {each["metadata"]["name"]: each for each in claims}
    objects = {"PersistentVolumeClaim": by_name, "Pod": {"p": pod}}
    seen = Observed(objects, now=datetime.now(UTC) + timedelta(minutes=1))
    with Convergence.to(write_kubeconfig(cluster, folder / "causes.kubeconfig")) as convergence:
        events = convergence.runner.run(observe_claim_events(convergence.api, a_stack(), seen))
    assert {name: len(found) for name, found in events.items()} == {CLAIM: 1}
    known = Observed(objects, now=seen.now, claim_events=events)
    assert cause_of(claims[0], known) == "no storage class 'fast'"

"""A real API server tells an object's own events, written as Kubernetes' controllers write them, and no others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx

from appstack_operator.assess.claims import cause_of
from appstack_operator.assess.refusals import refusal
from appstack_operator.observe import observe_events
from appstack_operator.observed import Observed
from tests.apiserver.kit.convergence import Convergence
from tests.apiserver.kit.plugin import write_kubeconfig
from tests.unit.operator.factories import a_stack

if TYPE_CHECKING:
    from pathlib import Path

    from appstack_operator.objects import Object
    from tests.apiserver.kit.server import BareCluster

NAMESPACE = "shop"  # of a_stack()
CLAIM = "data-shop-postgres-0"


def post(client: httpx.Client, path: str, body: Object, *, may_exist: bool = False) -> Object:
    answer = client.post(path, json=body)
    if not (may_exist and answer.status_code == httpx.codes.CONFLICT):
        answer.raise_for_status()
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


def a_refusal(kind: str, owner: Object, words: str) -> Object:
    """As a controller of pods writes it."""
    failure = a_failure(owner, words)
    about = {"apiVersion": owner["apiVersion"], "kind": kind}
    return {**failure, "reason": "FailedCreate", "involvedObject": {**failure["involvedObject"], **about}}


CONTAINERS = {"containers": [{"name": "x", "image": "x"}]}
LABELS = {"app": "x"}
REFUSALS = {
    "StatefulSet": 'create Pod shop-redis-0 in StatefulSet shop-redis failed error: pods "shop-redis-0" is forbidden',
    "Job": 'Error creating: pods "shop-migrate-1-x" is forbidden',
}


def test_a_controller_that_may_create_no_pod_is_told_the_api_servers_words(cluster: BareCluster, folder: Path) -> None:
    long_ago = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    job_spec = {"template": {"spec": CONTAINERS | {"restartPolicy": "Never"}}}
    set_spec = {"serviceName": "x", "replicas": 1, "selector": {"matchLabels": LABELS}}
    set_spec |= {"template": {"metadata": {"labels": LABELS}, "spec": CONTAINERS}}
    wanted = {
        "StatefulSet": ("apps/v1", "statefulsets", "shop-redis", set_spec, {"replicas": 0, "observedGeneration": 1}),
        "Job": ("batch/v1", "jobs", "shop-migrate-1", job_spec, {"startTime": long_ago}),
    }
    objects: dict[str, dict[str, Object]] = {}
    with cluster.client() as client:
        post(client, "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}, may_exist=True)
        for kind, (version, plural, name, spec, status) in wanted.items():
            live = post(
                client, f"/apis/{version}/namespaces/{NAMESPACE}/{plural}", {"metadata": {"name": name}, "spec": spec}
            )
            post(client, f"/api/v1/namespaces/{NAMESPACE}/events", a_refusal(kind, live, REFUSALS[kind]))
            objects[kind] = {name: {**live, "status": status}}
    seen = Observed(
        objects, moments={("StatefulSet", "shop-redis"): datetime.fromisoformat(long_ago)}, now=datetime.now(UTC)
    )
    with Convergence.to(write_kubeconfig(cluster, folder / "causes.kubeconfig")) as convergence:
        events = convergence.runner.run(observe_events(convergence.api, a_stack(), seen))
    told = [refusal(kind, name, "x", replace(seen, events=events)).message for kind, name in events]
    assert told == [
        'StatefulSet shop-redis cannot create x: pods "shop-redis-0" is forbidden',
        'Job shop-migrate-1 cannot create x: pods "shop-migrate-1-x" is forbidden',
    ]


def test_a_claim_is_told_its_own_cause(cluster: BareCluster, folder: Path) -> None:
    core = f"/api/v1/namespaces/{NAMESPACE}"
    with cluster.client() as client:
        post(client, "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}}, may_exist=True)
        claims = [post(client, f"{core}/persistentvolumeclaims", a_claim(name)) for name in (CLAIM, "of-others")]
        words = ('storageclass.storage.k8s.io "fast" not found', "something else")
        for claim, said in zip(claims, words, strict=True):
            post(client, f"{core}/events", a_failure(claim, said))
    pod = {"metadata": {"name": "p"}, "spec": {"volumes": [{"persistentVolumeClaim": {"claimName": CLAIM}}]}}
    by_name = {each["metadata"]["name"]: each for each in claims}
    objects = {"PersistentVolumeClaim": by_name, "Pod": {"p": pod}}
    seen = Observed(objects, now=datetime.now(UTC) + timedelta(minutes=1))
    with Convergence.to(write_kubeconfig(cluster, folder / "causes.kubeconfig")) as convergence:
        events = convergence.runner.run(observe_events(convergence.api, a_stack(), seen))
    assert {name: len(found) for name, found in events.items()} == {("PersistentVolumeClaim", CLAIM): 1}
    known = Observed(objects, now=seen.now, events=events)
    assert cause_of(claims[0], known) == "no storage class 'fast'"

"""What the API server refuses by itself, and the sentence that the user reads: every rule of the CRD has a case."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from appstack_operator.api.crd import build_schema
from appstack_operator.api.postgres import OWNED_PARAMETERS
from appstack_operator.kinds import STACK
from tests.apiserver.kit.cast import MERGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.apiserver.kit.server import BareCluster

NAMESPACE = "rules"
EXTERNAL = {"mode": "External", "external": {"secretName": "ours"}}
OWN = {"image": "shop:1"}
A = {"name": "a"}
BIG, SMALL = {"memory": "1Gi"}, {"memory": "1023Mi"}
# A stack whose spec says what may not change.
BEFORE: dict[str, Any] = {
    "postgres": {"storage": {"size": "10Gi", "storageClassName": "fast"}},
    "redis": {"storage": {"size": "2Gi"}},
    "rabbitmq": {"replicas": 3},
}


def worker(**fields: Any) -> dict[str, Any]:
    return {"backend": {**OWN, "workers": [{"name": "bulk", **fields}]}}


def cron_job(**fields: Any) -> dict[str, Any]:
    return {"cronJobs": [{"name": "nightly", "schedule": "@daily", **fields}]}


def variable(**fields: Any) -> dict[str, Any]:
    return {"backend": {"env": [{"name": "A", **fields}]}}


def toleration(**fields: Any) -> dict[str, Any]:
    return {"scheduling": {"tolerations": [fields]}}


# Spec -> a part of the sentence.
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("mode External needs external.secretName", {"postgres": {"mode": "External"}}),
    ("mode External needs external.secretName", {"redis": {"mode": "External"}}),
    ("mode External needs external.secretName", {"rabbitmq": {"mode": "External"}}),
    ("external.secretName: Required value", {"redis": {"mode": "External", "external": {}}}),
    ("replicas must be 1 or 3 to 5", {"redis": {"replicas": 2}}),
    ("sentinels must be 1, 3 or 5", {"redis": {"sentinels": 2}}),
    ("must be larger than maxMemory", {"redis": {"maxMemory": "1Gi", "resources": {"limits": {"memory": "1Gi"}}}}),
    ("must be larger than maxMemory", {"redis": {"resources": {"limits": {"memory": "256Mi"}}}}),
    *(("maxMemory must be at least 1Mi", {"redis": {"maxMemory": each}}) for each in ("0", "100m", "0Gi", "1023Ki")),
    *(("storage.size must be at least 1Mi", {service: {"storage": {"size": each}}})
      for service in ("postgres", "redis", "rabbitmq") for each in ("0", "10")),
    ("replicas must be 1, 3 or 5", {"rabbitmq": {"replicas": 2}}),
    ("less than or equal to 5", {"postgres": {"instances": 6}}),
    ("greater than or equal to 1", {"postgres": {"instances": 0}}),
    ("Required needs 2 instances", {"postgres": {"instances": 1, "synchronousReplication": "Required"}}),
    ("parameters.fsync is the operator's", {"postgres": {"parameters": {"fsync": "off"}}}),
    ("written in lower case", {"postgres": {"parameters": {"FSYNC": "off"}}}),
    ("requests must not be greater", {"postgres": {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}}}),
    ("requests must not be greater", {"backend": {"api": {"resources": {"requests": BIG, "limits": SMALL}}}}),
    ("requests must not be greater", {"redis": {"resources": {"requests": BIG, "limits": SMALL}}}),
    ("requests must not be greater", {"rabbitmq": {"resources": {"requests": BIG, "limits": SMALL}}}),
    ("resources are cpu, memory", {"backend": {"api": {"resources": {"limits": {"cpus": "1"}}}}}),
    ("should match", {"backend": {"api": {"resources": {"limits": {"memory": "1GB"}}}}}),
    ("minReplicas must not be greater", {"backend": {"api": {"autoscaling": {"minReplicas": 11}}}}),
    ("minReplicas must not be greater", worker(queues=["a"], autoscaling={"minReplicas": 9, "maxReplicas": 3})),
    ("autoscaling needs queues", worker(autoscaling={"maxReplicas": 3})),
    ("needs queues (bulk, notifications)", {"backend": {"workers": [{"name": "bulk"}]}}),
    ("api.port 9000", {"backend": {"api": {"port": 9000}}}),
    ("less than or equal to 1000", {"backend": {"api": {"replicas": 1001}}}),
    ("Duplicate value", worker(queues=["a", "a"])),
    ("Duplicate value", {"backend": {**OWN, "workers": [{"name": "a"}, {"name": "a"}]}}),
    ("Duplicate value", {"cronJobs": [{"name": "a", "schedule": "@daily"}, {"name": "a", "schedule": "@weekly"}]}),
    ("Duplicate value", {"backend": {"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}}),
    ("may not be more than 24", worker(name="a" * 25)),
    ("may not be more than 21", cron_job(name="a" * 22)),
    ("should match", worker(name="Bulk")),
    ("should match", worker(queues=["a b"])),
    ("should match", {"backend": {"image": "shop 1"}}),
    ("should match", {"backend": {"api": {"livenessPath": "livez"}}}),
    ("should match", {"backend": {"env": [{"name": "A=B", "value": "1"}]}}),
    ("should match", {"redis": {"mode": "External", "external": {"secretName": "Not A Name"}}}),
    ("a value or a valueFrom, not both", variable(value="1", valueFrom={"fieldRef": {"fieldPath": "metadata.name"}})),
    ("valueFrom needs exactly one", variable(valueFrom={})),
    (
        "valueFrom needs exactly one",
        variable(valueFrom={"fieldRef": {"fieldPath": "a"}, "secretKeyRef": {"name": "a", "key": "b"}}),
    ),
    ("envFrom needs exactly one", {"backend": {"envFrom": [{}]}}),
    ("envFrom needs exactly one", {"backend": {"envFrom": [{"secretRef": A, "configMapRef": A}]}}),
    *(("schedule is five fields", cron_job(schedule=each)) for each in (
        "nightly", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *",
        "TZ=UTC * * * * *", "* * * * * *", "@reboot",
    )),
    *(("timeZone is a name of the tz", cron_job(timeZone=each)) for each in ("Local", "UTC+1:00", "/etc/passwd")),
    ("greater than or equal to 10", cron_job(startingDeadlineSeconds=9)),
    ("tolerates every taint", toleration(effect="NoSchedule")),
    ("has no value", toleration(key="a", operator="Exists", value="b")),
    ("tolerationSeconds needs effect: NoExecute", toleration(key="a", tolerationSeconds=3)),
    ("Unsupported value", toleration(key="a", operator="In")),
    ("a key is the name of a label", {"scheduling": {"nodeSelector": {"a b": "c"}}}),
    ("should match", {"scheduling": {"nodeSelector": {"a": "b c"}}}),
    ("should match", {"scheduling": {"priorityClassName": "Very High"}}),
    ("Unsupported value", {"deletionPolicy": "Keep"}),
]  # fmt: skip
NAMES = [
    ("has at most 30 characters", "a" * 31),
    ("is a DNS label: a lower-case letter", "shop.one"),
    ("is a DNS label: a lower-case letter", "1shop"),
]
# A change of BEFORE -> a part of the sentence.
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("mode cannot change", {"postgres": EXTERNAL}),
    ("mode cannot change", {"redis": EXTERNAL}),
    ("mode cannot change", {"rabbitmq": EXTERNAL}),
    ("storageClassName cannot change", {"postgres": {"storage": {"storageClassName": "slow"}}}),
    ("storageClassName cannot change", {"postgres": {"storage": {"storageClassName": None}}}),
    ("storageClassName cannot change", {"redis": {"storage": {"storageClassName": "fast"}}}),
    ("storageClassName cannot change", {"rabbitmq": {"storage": {"storageClassName": "fast"}}}),
    ("storage.size cannot shrink", {"postgres": {"storage": {"size": "9Gi"}}}),
    ("storage.size cannot shrink", {"redis": {"storage": None}}),
    ("storage.size cannot shrink", {"rabbitmq": {"storage": {"size": "1M"}}}),
    ("keep the number, or create a new stack", {"rabbitmq": {"replicas": 1}}),
]
# What looks odd and is right.
ACCEPTED: list[dict[str, Any]] = [
    {},
    {"backend": {"api": {"replicas": 0}}},
    {"backend": {**OWN, "workers": [], "api": {"port": 9000}}, "cronJobs": []},
    worker(),
    worker(resources={"requests": {"cpu": "500m"}, "limits": {"cpu": 1}}),
    {"redis": {"maxMemory": "1Gi", "resources": {"limits": {"memory": "1025Mi"}}}},
    {"redis": {"maxMemory": "1Mi", "storage": {"size": "1e9"}}},
    {"postgres": {"synchronousReplication": "Required", "parameters": {"auto_explain.log_min_duration": 5}}},
    *(cron_job(schedule=each) for each in (
        "*/15 0-6,22 1 JAN-mar,12 mon-fri", "0 0 31 12 0", "? * ? * ?", "@hourly", "@every 1h30m", "5  4  * * sun",
    )),
    *(cron_job(timeZone=each) for each in ("Etc/GMT+5", "America/Argentina/Buenos_Aires", "UTC")),
    toleration(operator="Exists"),
    toleration(key="a", operator="Exists", effect="NoExecute", tolerationSeconds=0),
    {"scheduling": {"nodeSelector": {"kubernetes.io/arch": "amd64", "empty": ""}}},
    variable(valueFrom={"secretKeyRef": {"name": "a", "key": "b", "optional": True}}),
    variable(value=""),
]  # fmt: skip


@pytest.fixture(scope="module")
def client(cluster: BareCluster) -> Iterator[httpx.Client]:
    with cluster.client() as client:
        client.post("/api/v1/namespaces", json={"metadata": {"name": NAMESPACE}}).raise_for_status()
        client.post(STACK.path(NAMESPACE), json=a_manifest(BEFORE)).raise_for_status()
        yield client


def a_manifest(spec: dict[str, Any], name: str = "before") -> dict[str, Any]:
    return {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": name}, "spec": spec}


def dry(client: httpx.Client, manifest: dict[str, Any]) -> httpx.Response:
    return client.post(STACK.path(NAMESPACE), json=manifest, params={"dryRun": "All", "fieldValidation": "Strict"})


@pytest.mark.parametrize(("sentence", "spec"), REFUSED, ids=str)
def test_nonsense_is_refused_with_a_sentence(client: httpx.Client, sentence: str, spec: dict[str, Any]) -> None:
    answer = dry(client, a_manifest(spec, "new"))
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, answer.text
    assert sentence in answer.json()["message"]


def test_each_owned_parameter_is_refused_by_its_name(client: httpx.Client) -> None:
    for name in OWNED_PARAMETERS:
        answer = dry(client, a_manifest({"postgres": {"parameters": {name: "1"}}}, "new"))
        assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, name
        assert f"parameters.{name} is the operator's" in answer.json()["message"]


@pytest.mark.parametrize(("sentence", "name"), NAMES)
def test_a_name_that_children_could_not_bear_is_refused(client: httpx.Client, sentence: str, name: str) -> None:
    answer = dry(client, a_manifest({}, name))
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    assert sentence in answer.json()["message"]


@pytest.mark.parametrize(("sentence", "change"), CHANGES, ids=str)
def test_a_change_that_would_lose_data_is_refused(client: httpx.Client, sentence: str, change: dict[str, Any]) -> None:
    path = STACK.path(NAMESPACE, "before")
    answer = client.patch(path, json={"spec": change}, headers=MERGE, params={"dryRun": "All"})
    assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, answer.text
    assert sentence in answer.json()["message"]


@pytest.mark.parametrize("spec", ACCEPTED, ids=str)
def test_what_is_odd_but_right_is_taken(client: httpx.Client, spec: dict[str, Any]) -> None:
    answer = dry(client, a_manifest(copy.deepcopy(spec), "new"))
    assert answer.status_code == httpx.codes.CREATED, answer.text


def rules(schema: Any) -> Iterator[str]:
    """The sentences of all rules in a schema."""
    if isinstance(schema, dict):
        for rule in schema.get("x-kubernetes-validations", []):
            yield rule["message"]
        for part in schema.values():
            yield from rules(part)


def test_every_rule_has_a_case() -> None:
    cases = [sentence for sentence, _ in (*REFUSED, *NAMES, *CHANGES)]
    without = [
        message
        for message in dict.fromkeys(rules(build_schema()))
        if not any(case in message for case in cases) and "is the operator's: replication" not in message
    ]
    assert without == []

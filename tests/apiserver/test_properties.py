"""What holds for any valid spec, with a real API server as the judge."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings

from appstack_operator.api import AppStack
from appstack_operator.desired.stack import build_stack
from appstack_operator.kinds import BY_NAME, STACK
from appstack_operator.main import placeholder_context
from appstack_operator.placeholders import AnyAddress
from tests.apiserver.kit.convergence import Convergence
from tests.apiserver.kit.plugin import write_kubeconfig
from tests.apiserver.kit.snapshot import text_of
from tests.specs import Spec, pairs_of_specs, specs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.apiserver.kit.server import BareCluster

NAMESPACE = "properties"
FEW, MANY = 12, 300
SECRETS = {
    "our-postgres": {"DATABASE_URL": "postgresql://a:b@postgres.example.com/app"},
    "our-redis": {"REDIS_URL": "redis://redis.example.com:6379/0"},
    "our-rabbitmq": {"RABBITMQ_URL": "amqp://a:b@rabbitmq.example.com/%2F"},
}
# No deadline: the servers share the machine with everything else.
QUICK = settings(max_examples=FEW, deadline=None, suppress_health_check=[HealthCheck.too_slow])
LONG = settings(QUICK, max_examples=MANY)
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def client(cluster: BareCluster) -> Iterator[httpx.Client]:
    with cluster.client() as client:
        make_namespace(client, NAMESPACE)
        yield client


@pytest.fixture(scope="module")
def convergence(cluster: BareCluster, folder: Path) -> Iterator[Convergence]:
    with Convergence.to(write_kubeconfig(cluster, folder / "properties.kubeconfig")) as convergence:
        yield convergence


def make_namespace(client: httpx.Client, name: str) -> None:
    """One that lets in only pods of the restricted standard, and warns of templates of others."""
    restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    client.post("/api/v1/namespaces", json={"metadata": {"name": name, "labels": restricted}}).raise_for_status()
    for secret, data in SECRETS.items():
        body = {"metadata": {"name": secret}, "stringData": data}
        client.post(BY_NAME["Secret"].path(name), json=body).raise_for_status()


class AddressesOfAllServices(AnyAddress):
    """As good as real ones: the API server takes no words in their place, and no address twice."""

    def __missing__(self, name: str) -> str:
        self[name] = f"192.0.2.{len(self) + 1}"
        return self[name]


def a_manifest(spec: Spec) -> dict[str, Any]:
    return {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": "shop"}, "spec": spec}


def refusals(client: httpx.Client, spec: Spec) -> list[str]:
    """What the API server has against the stack or any of its children, in a dry run: its warnings too."""
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    answer = client.post(STACK.path(NAMESPACE), json=a_manifest(spec), params=query)
    if not answer.is_success:
        return [answer.text]
    stack = AppStack.model_validate(answer.json())
    context = replace(placeholder_context(stack), addresses=AddressesOfAllServices())
    children = [
        (kind := BY_NAME[item.manifest["kind"]], client.post(kind.path(NAMESPACE), json=item.manifest, params=query))
        for item in build_stack(stack, context)
    ]
    # The operator makes no object of an optional kind where the cluster does not serve it.
    answers = [
        answer for kind, answer in children if not (kind.is_optional and answer.status_code == httpx.codes.NOT_FOUND)
    ]
    warnings = [text for answer in answers for text in answer.headers.get_list("warning")]
    return [answer.text for answer in answers if not answer.is_success] + warnings


@QUICK
@given(spec=specs())
def test_the_api_server_takes_what_any_valid_spec_becomes(client: httpx.Client, spec: Spec) -> None:
    assert refusals(client, spec) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
@LONG
@given(spec=specs())
def test_the_api_server_takes_what_very_many_specs_become(client: httpx.Client, spec: Spec) -> None:
    assert refusals(client, spec) == []


def there_and_back(client: httpx.Client, convergence: Convergence, first: Spec, second: Spec) -> None:
    """Converge on one spec, on another, and on the first again; each time nothing is left to do."""
    namespace = f"{NAMESPACE}-{next(numbers)}"
    make_namespace(client, namespace)
    client.post(STACK.path(namespace), json=a_manifest(first)).raise_for_status()
    convergence.reach(namespace)
    begun = contents(convergence, namespace)
    assert begun
    for spec in (second, first):
        put(client, namespace, spec)
        convergence.reach(namespace)
    ended = contents(convergence, namespace)
    # A password once made is kept for good: the first API token, once the bundled image has run.
    assert ended.keys() - begun.keys() <= {"Secret shop-api-token"}
    assert begun.keys() <= ended.keys()
    assert {name: text for name, text in ended.items() if begun.get(name, text) != text} == {}


def put(client: httpx.Client, namespace: str, spec: Spec) -> None:
    """Replace the whole spec."""
    path = STACK.path(namespace, "shop")
    live = client.get(path).json()
    client.put(path, json={**live, "spec": spec}).raise_for_status()


def contents(convergence: Convergence, namespace: str) -> dict[str, str]:
    """Every child's content, without what differs between two objects that are alike."""
    objects = convergence.objects(namespace)
    if any(obj["kind"] == "HorizontalPodAutoscaler" for obj in objects):
        # The number of API pods is the autoscaler's then: it goes on from where it is.
        api = next(obj for obj in objects if (obj["kind"], obj["metadata"]["name"]) == ("Deployment", "shop-api"))
        del api["spec"]["replicas"]
    return {f"{obj['kind']} {obj['metadata']['name']}": steady(text_of(obj, namespace, {})) for obj in objects}


def steady(text: str) -> str:
    """A Service that was away has another address now."""
    return re.sub(r"\b10\.\d+\.\d+\.\d+\b", "ADDRESS", text)


@example(pair=({"postgres": {"pooler": {"enabled": True}}}, {}))
@settings(QUICK, max_examples=FEW // 3)
@given(pair=pairs_of_specs())
def test_there_and_back_again_ends_where_it_began(
    client: httpx.Client, convergence: Convergence, pair: tuple[Spec, Spec]
) -> None:
    there_and_back(client, convergence, *pair)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(LONG, max_examples=MANY // 3)
@given(pair=pairs_of_specs())
def test_there_and_back_again_for_very_many_pairs(
    client: httpx.Client, convergence: Convergence, pair: tuple[Spec, Spec]
) -> None:
    there_and_back(client, convergence, *pair)

"""Which Deployment is believed to be the operator: its label, which anybody can use, is not enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.client import ApiError
from appstack_operator.plugin.operator_sign import look_for_operator
from appstack_operator.plugin.operators import find_operator, find_settings
from tests.unit.operator.factories import NOW, a_stack, observed
from tests.unit.operator.planning import everything

if TYPE_CHECKING:
    from appstack_operator.kinds import Kind, Ref
    from appstack_operator.objects import Object

IMAGES = {
    f"APPSTACK_IMAGE_{name}": f"registry/{name.lower()}:7" for name in ("BACKEND", "POSTGRES", "REDIS", "RABBITMQ")
}


def a_deployment(namespace: str, name: str = "appstack-operator", **env: str) -> Object:
    variables = [{"name": key, "value": value} for key, value in env.items()]
    containers = [{"name": "proxy"}, {"name": "operator", "env": variables}]
    labels = {"app.kubernetes.io/name": "appstack-operator"}
    meta = {"namespace": namespace, "name": name, "labels": labels}
    return {"kind": "Deployment", "metadata": meta, "spec": {"template": {"spec": {"containers": containers}}}}


@dataclass
class Cluster:
    """Deployments with the operator's label, and how long ago whose Lease was renewed; None: it may not be read."""

    deployments: list[Object]
    silent_seconds: dict[str, int | None] = field(default_factory=dict)

    async def list(self, kind: Kind, namespace: str, labels: str = "", fields: str = "") -> list[Object]:
        return [each for each in self.deployments if namespace in ("", each["metadata"]["namespace"])]

    async def get(self, ref: Ref) -> Object | None:
        if ref.namespace not in self.silent_seconds:
            return None
        seconds = self.silent_seconds[ref.namespace]
        if seconds is None:
            raise ApiError(403, "Forbidden", f"{ref} may not be read")
        return {"spec": {"holderIdentity": "pod-1", "renewTime": (NOW - timedelta(seconds=seconds)).isoformat()}}


async def found_in(cluster: Cluster, where: str = "") -> tuple[str, str]:
    """The namespace of the one that is believed, and what is said where none is."""
    found = await find_operator(cluster, where, "shop", NOW)  # type: ignore[arg-type]
    return found.deployment["metadata"]["namespace"] if found.deployment else "", found.why_none


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({}, id="none of an operator's variables"),
        pytest.param({**IMAGES, "APPSTACK_IMAGE_REDIS": ""}, id="an image from elsewhere"),
        pytest.param({**IMAGES, "APPSTACK_POLL_SECONDS": "often"}, id="it cannot run so"),
        pytest.param({**IMAGES, "APPSTACK_WATCH_NAMESPACES": "other"}, id="it minds another namespace"),
    ],
)
async def test_who_could_not_be_the_operator_is_not_believed(env: dict[str, str]) -> None:
    """One of these was, wherever it ran, as long as its namespace came first in the alphabet."""
    cluster = Cluster([a_deployment("a-team", **env), a_deployment("z-system", **IMAGES)])
    assert await found_in(cluster) == ("z-system", "")
    nobody = "the operator's Deployment was not found (--operator-namespace?)"
    assert await found_in(Cluster(cluster.deployments[:1])) == ("", nobody)


@pytest.mark.parametrize(
    ("silent_seconds", "believed"),
    [
        pytest.param({"z-system": 3}, "z-system", id="one has no Lease"),
        pytest.param({"a-team": 600, "z-system": 3}, "z-system", id="one is silent"),
        pytest.param({"a-team": 600, "z-system": None}, "z-system", id="one is silent, of one it cannot be seen"),
        pytest.param({"a-team": 3, "z-system": 3}, "", id="both are at work"),
        pytest.param({"a-team": 3, "z-system": None}, "", id="one is at work, of one it cannot be seen"),
        pytest.param({}, "", id="none is at work"),
    ],
)
async def test_of_several_the_one_at_work_is_believed(silent_seconds: dict[str, int | None], believed: str) -> None:
    """Anybody may run a Deployment that looks like the operator: where two do, the user has to tell."""
    cluster = Cluster([a_deployment("a-team", **IMAGES), a_deployment("z-system", **IMAGES)], silent_seconds)
    namespace, why = await found_in(cluster)
    assert namespace == believed
    several = "several Deployments may be the operator (--operator-namespace?): "
    assert why == ("" if believed else f"{several}a-team/appstack-operator, z-system/appstack-operator")
    assert await found_in(cluster, "z-system") == ("z-system", "")


async def test_status_says_that_it_cannot_tell_which_is_the_operator() -> None:
    cluster = Cluster(
        [a_deployment("a-team", **IMAGES), a_deployment("z-system", **IMAGES)], {"a-team": 3, "z-system": 3}
    )
    sign = await look_for_operator(cluster, "", "shop", NOW)  # type: ignore[arg-type]
    assert sign.is_away is None
    assert sign.message.startswith("several Deployments may be the operator")


async def test_images_of_what_runs_are_those_of_what_the_operator_made() -> None:
    """Users put the stack's label on what is theirs, too."""
    theirs: dict[str, Any] = {"containers": [{"name": "api", "image": "theirs:1"}]}
    meta = {"name": "zebra", "namespace": "shop", "labels": {"appstack.dev/stack": "shop"}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {"template": {"spec": theirs}},
    }
    found = await find_operator(Cluster([]), "", "shop", NOW)  # type: ignore[arg-type]
    settings, (note,) = find_settings(found, observed(*everything(), deployment))
    assert settings.image_backend == "backend:1"
    assert note.endswith("images are taken from what runs")
    assert a_stack().spec.backend.image is None

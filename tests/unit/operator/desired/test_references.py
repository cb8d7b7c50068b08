"""What the user's env and envFrom name: a changed content restarts the pods that read it, and no others."""

from __future__ import annotations

import pytest

from appstack_operator.desired.api import build_api
from appstack_operator.desired.environment import container_environment
from appstack_operator.desired.references import REFERENCES_CHECKSUM, named_by
from appstack_operator.desired.workers import build_workers
from tests.unit.operator.factories import a_context, a_stack

FROM_KEY = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "first"}}}
OF_A_POOL = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "levels", "key": "level"}}}
STACK = a_stack(
    backend={
        "env": [FROM_KEY],
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "more"}, "prefix": "MY_"}],
        "workers": [{"name": "bulk", "env": [OF_A_POOL]}, {"name": "mail"}],
    }
)
CONTENTS = {
    ("Secret", "tokens"): {"first": "MQ==", "second": "Mg=="},
    ("ConfigMap", "settings"): {"DATABASE_URL": "postgresql://elsewhere/app"},
    ("Secret", "more"): {"NAME": "eA=="},
    ("ConfigMap", "levels"): {"level": "info"},
}


def checksums(**changed: dict[str, str] | None) -> dict[str, str]:
    """Deployment -> the checksum of what its pods refer to."""
    contents = {place: changed.get(place[1], data) for place, data in CONTENTS.items()}
    context = a_context(references=contents)
    made = [obj for obj in (*build_api(STACK, context), *build_workers(STACK, context)) if obj["kind"] == "Deployment"]
    return {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["annotations"][REFERENCES_CHECKSUM]
        for each in made
    }


def test_every_object_that_a_container_names_is_known() -> None:
    assert named_by(STACK) == set(CONTENTS)


@pytest.mark.parametrize(
    ("changed", "restarted"),
    [
        pytest.param({"settings": {}}, {"shop-api", "shop-worker-bulk", "shop-worker-mail"}, id="envFrom"),
        pytest.param({"more": None}, {"shop-api", "shop-worker-bulk", "shop-worker-mail"}, id="a lost Secret"),
        pytest.param({"tokens": {"first": "Mw=="}}, {"shop-api", "shop-worker-bulk", "shop-worker-mail"}, id="a key"),
        pytest.param({"tokens": {"first": "MQ==", "second": "OQ=="}}, set(), id="another key of the Secret"),
        pytest.param({"levels": {"level": "debug"}}, {"shop-worker-bulk"}, id="of one pool"),
    ],
)
def test_a_change_restarts_who_reads_it(changed: dict[str, dict[str, str] | None], restarted: set[str]) -> None:
    before, after = checksums(), checksums(**changed)
    assert {name for name in before if before[name] != after[name]} == restarted


def test_a_stack_that_names_nothing_has_no_such_annotation() -> None:
    (deployment,) = [obj for obj in build_api(a_stack(), a_context()) if obj["kind"] == "Deployment"]
    assert REFERENCES_CHECKSUM not in deployment["spec"]["template"]["metadata"]["annotations"]


def test_what_the_users_env_from_brings_is_not_set_by_us() -> None:
    ours = {each["name"] for each in container_environment(STACK, a_context(), "api")}
    now = {each["name"] for each in container_environment(STACK, a_context(references=CONTENTS), "api")}
    assert ours - now == {"DATABASE_URL"}
    assert "TOKEN" in now

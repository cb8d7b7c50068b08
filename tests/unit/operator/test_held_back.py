"""What of a spec waits although nothing stands before it: the rest of the stack goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.desired.stack import build_stack
from appstack_operator.held_back import (
    claims_are_free,
    edits_that_wait,
    may_begin,
)
from appstack_operator.leaving import stack_for_now
from appstack_operator.objects import is_claim_of, labels
from appstack_operator.plan import plan
from appstack_operator.volumes import claims_to_come
from tests.unit.operator.factories import a_context, a_pod, a_stack, healthy_answers, observed
from tests.unit.operator.planning import OPEN, everything

if TYPE_CHECKING:
    from appstack_operator.objects import Object
    from appstack_operator.observed import Observed

EXTERNAL = {"mode": "External", "external": {"secretName": "theirs"}}


def begun(seen: Observed, **spec: Any) -> dict[str, Object]:
    """StatefulSet -> what is written of it."""
    stack = a_stack(**spec)
    actions = plan(stack, build_stack(stack_for_now(stack, seen), a_context()), seen, OPEN)
    written = [each for each in actions if each.target.kind == "StatefulSet" and may_begin(each, stack, seen)]
    return {each.target.name: each.manifest or {} for each in written}


def test_a_stack_to_come_asks_for_every_claim_of_what_the_operator_runs() -> None:
    stack = a_stack(postgres={"instances": 2}, redis={"replicas": 1, "sentinels": 1}, rabbitmq=EXTERNAL)
    names = {"data-shop-postgres-0": "postgres", "data-shop-postgres-1": "postgres", "data-shop-redis-0": "redis"}
    assert claims_to_come(stack, observed()) == names


def test_a_stack_that_stands_asks_for_none_but_those_of_members_to_come() -> None:
    assert claims_to_come(a_stack(), observed(*everything())) == {}
    grown = a_stack(postgres={"instances": 4})
    assert list(claims_to_come(grown, observed(*everything()))) == ["data-shop-postgres-2", "data-shop-postgres-3"]


def test_a_pod_that_is_there_has_its_claim() -> None:
    """Its StatefulSet is made again around it as volumes grow."""
    stack = a_stack(redis=EXTERNAL, rabbitmq=EXTERNAL)
    assert list(claims_to_come(stack, observed(a_pod(stack, "postgres", 0)))) == ["data-shop-postgres-1"]


@pytest.mark.parametrize(
    ("name", "stack", "is_ours"),
    [
        pytest.param("data-shop-postgres-0", "shop", True, id="of a pod of this stack"),
        pytest.param("data-shop-postgres-12", "shop", True, id="also of a pod that is gone"),
        pytest.param("data-shop-postgres-0", "shop-eu", False, id="labels of another stack"),
        pytest.param("data-shop-redis-0", "shop", False, id="name of another component"),
        pytest.param("data-shop-postgres", "shop", False, id="no number"),
    ],
)
def test_name_and_labels_tell_whose_a_claim_is(name: str, stack: str, is_ours: bool) -> None:
    claim = {"metadata": {"name": name, "labels": labels(a_stack(stack), "postgres")}}
    assert is_claim_of(a_stack(), claim) is is_ours


def test_where_a_claim_is_somebody_elses_that_stateful_set_alone_is_not_made() -> None:
    seen = replace(observed(), foreign_claims={"data-shop-rabbitmq-0": "rabbitmq"})
    assert sorted(begun(seen)) == ["shop-postgres", "shop-redis", "shop-redis-sentinel"]
    assert sorted(begun(observed())) == ["shop-postgres", "shop-rabbitmq", "shop-redis", "shop-redis-sentinel"]
    (said,) = claims_are_free(a_stack(), seen).values()
    assert (said.status, said.reason) == ("False", "ForeignObject")
    assert "PersistentVolumeClaim data-shop-rabbitmq-0 exists" in said.message


def test_where_a_claim_of_a_member_to_come_is_somebody_elses_the_number_stays_and_all_else_follows() -> None:
    seen = observed(*everything())
    wanted: dict[str, Any] = {"postgres": {"instances": 3, "resources": {"limits": {"memory": "2Gi"}}}}
    assert begun(seen, **wanted)["shop-postgres"]["spec"]["replicas"] == 3
    blocked = replace(seen, foreign_claims={"data-shop-postgres-2": "postgres"})
    written = begun(blocked, **wanted)["shop-postgres"]["spec"]
    assert written["replicas"] == 2
    assert written["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "2Gi"
    assert begun(blocked, postgres={"instances": 3}) == {}


def edited(secret: str, *pods: Object) -> dict[str, str]:
    """The edits that wait in a stack in which that Secret was edited and these pods run."""
    stack, objects = a_stack(), everything()
    (live,) = (each for each in objects if each["kind"] == "Secret" and each["metadata"]["name"] == f"shop-{secret}")
    live["data"]["password"] = "b3RoZXI="
    return edits_that_wait(stack, observed(*objects, *pods, **healthy_answers(stack)), a_context())


def test_an_edited_password_waits_for_a_rollout_that_is_under_way() -> None:
    waiting = edited("postgres-app", a_pod(a_stack(), "worker-bulk"))
    assert waiting.keys() == {"postgres_app"}
    assert edited("rabbitmq-auth", a_pod(a_stack(), "api")).keys() == {"rabbitmq"}


def test_a_password_that_no_pod_of_the_backend_holds_waits_for_nothing() -> None:
    assert edited("postgres-app") == {}
    assert edited("postgres-app", a_pod(a_stack(), "postgres")) == {}
    assert edited("postgres-replication", a_pod(a_stack(), "api")) == {}

"""What is kept of a look says the same, and is read once in each look."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from appstack_operator.assess.stack import assess_stack
from appstack_operator.bridging import AnswerMemory
from appstack_operator.folded import fold, outline, unfold
from appstack_operator.observe import announced, observe_services
from appstack_operator.scaling import ScalingMemory, scale_workers
from appstack_operator.services import rabbitmq
from tests.unit.operator.factories import a_context, a_pod, a_stack, healthy_answers, observed

if TYPE_CHECKING:
    import pytest

STACK = a_stack()
SEEN = observed(a_pod(STACK, "rabbitmq", podIP="10.0.0.1"), **healthy_answers(STACK))


def test_a_look_that_was_kept_leads_to_the_same_conclusions() -> None:
    kept = unfold(fold(SEEN))
    assert {kind: dict(objects) for kind, objects in kept.objects.items()} == SEEN.objects
    assert assess_stack(STACK, kept, a_context()) == assess_stack(STACK, SEEN, a_context())
    assert replace(kept, objects=SEEN.objects) == SEEN


def test_managed_fields_are_not_kept_and_are_left_where_they_were() -> None:
    pod = a_pod(STACK, "rabbitmq")
    pod["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    (kept,) = unfold(fold(observed(pod))).of_kind("Pod")
    assert "managedFields" not in kept["metadata"]
    assert pod["metadata"]["managedFields"]


def test_a_look_reads_each_kind_once_and_none_that_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def loads(text: bytes) -> object:
        read.append(text)
        return {}

    kept = fold(observed(a_pod(STACK, "rabbitmq"), {"kind": "Secret", "metadata": {"name": "a"}}))
    monkeypatch.setattr("appstack_operator.folded.orjson.loads", loads)
    look = unfold(kept)
    assert look.pods("rabbitmq") == look.pods("postgres") == []
    assert len(read) == 1
    assert unfold(kept).pods("rabbitmq") == []
    assert len(read) == 2  # and what one look has read is not kept for the next


def test_the_outline_leads_to_the_same_number_of_workers() -> None:
    pool = {"name": "bulk", "queues": ["bulk"], "autoscaling": {"minReplicas": 1, "maxReplicas": 9}}
    stack = a_stack(backend={"workers": [pool]})
    live = {"kind": "Deployment", "metadata": {"name": f"{stack.name}-worker-bulk"}, "spec": {"replicas": 7}}
    seen = observed(live, a_pod(stack, "rabbitmq", podIP="10.0.0.1"), **healthy_answers(stack))
    assert scale_workers(stack, outline(seen), ScalingMemory()) == scale_workers(stack, seen, ScalingMemory())
    assert scale_workers(stack, outline(seen), ScalingMemory()) == {"bulk": 7}
    (pod,) = outline(seen).pods("rabbitmq")
    assert str(rabbitmq.place_of(pod, "/api")) == "http://10.0.0.1:15672/api"


async def test_the_outline_is_all_that_services_are_asked_by() -> None:
    """Nobody answers here: who was asked for what, and where, is all that differs."""
    stack = a_stack()
    pods = [a_pod(stack, each, podIP="127.0.0.1") for each in ("postgres", "redis", "redis-sentinel", "rabbitmq")]
    service = {"kind": "Service", "metadata": {"name": pods[1]["metadata"]["name"]}, "spec": {"clusterIP": "10.0.0.9"}}
    seen = observed(service, *pods, **healthy_answers(stack))
    asked = [
        await observe_services(stack, each, a_context().credentials, AnswerMemory()) for each in (seen, outline(seen))
    ]
    assert replace(asked[0], objects={}) == replace(asked[1], objects={})
    assert len(asked[0].postgres.members) == len(asked[0].redis.sentinels) == len(asked[0].redis.instances) == 1
    assert announced(outline(seen)) == announced(seen) == {pods[1]["metadata"]["name"]: "10.0.0.9"}

"""When the backend is sent through the pooler."""

from __future__ import annotations

from typing import Any

import pytest

from appstack_operator.assess.pooler import pooler_is_the_door
from appstack_operator.desired.stack import build_stack
from tests.unit.operator.factories import a_context, a_pod, a_stack, made, observed

POOLED: dict[str, Any] = {"postgres": {"pooler": {"enabled": True, "replicas": 3}}}


@pytest.mark.parametrize(
    ("without", "goes_through", "ready", "is_door"),
    [
        pytest.param(set(), False, 0, False, id="just switched on: the former way serves"),
        pytest.param(set(), False, 1, False, id="the loss of one pod would shut it again"),
        pytest.param(set(), False, 2, True, id="it takes connections"),
        pytest.param(set(), True, 0, True, id="all poolers are away: no way back"),
        pytest.param({"Deployment"}, False, 0, True, id="a new stack: nobody has to move later"),
        pytest.param({"Service"}, False, 2, False, id="it has no address"),
    ],
)
def test_the_door_moves_once_it_can_be_gone_through(
    without: set[str], goes_through: bool, ready: int, is_door: bool
) -> None:
    stack = a_stack(**POOLED)
    items = build_stack(stack, a_context(pooler_is_door=goes_through))
    objects = [made(stack, item.manifest) for item in items if item.manifest["kind"] not in without]
    seen = observed(*objects, *(a_pod(stack, "postgres-pooler", number, ready=number < ready) for number in range(3)))
    assert pooler_is_the_door(stack, seen) is is_door
    assert not pooler_is_the_door(a_stack(), seen), "nobody asks for one any more"


def test_a_single_pooler_is_the_door_once_it_is_ready() -> None:
    stack = a_stack(postgres={"pooler": {"enabled": True, "replicas": 1}})
    items = build_stack(stack, a_context(pooler_is_door=False))
    seen = observed(*(made(stack, item.manifest) for item in items), a_pod(stack, "postgres-pooler"))
    assert pooler_is_the_door(stack, seen)

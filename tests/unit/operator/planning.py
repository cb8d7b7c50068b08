"""What the plan of a whole stack is asked with: its objects as they are once made, and the pass over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appstack_operator.desired.stack import build_stack
from appstack_operator.gates import Gates
from appstack_operator.plan import Action, plan
from tests.unit.operator.factories import a_context, a_stack, made, observed

if TYPE_CHECKING:
    from appstack_operator.objects import Object

OPEN = Gates()


def everything(**spec: Any) -> list[Object]:
    """All objects of a stack as they are once made."""
    stack = a_stack(**spec)
    return [made(stack, item.manifest) for item in build_stack(stack, a_context())]


def plan_for(objects: list[Object], gates: Gates = OPEN, **spec: Any) -> list[Action]:
    stack = a_stack(**spec)
    return plan(stack, build_stack(stack, a_context()), observed(*objects), gates)

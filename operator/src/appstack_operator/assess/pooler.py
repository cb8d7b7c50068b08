"""Which way the backend's writes go: past the pooler, until it can take them, or through it. Pure."""

from appstack_operator.api import AppStack
from appstack_operator.assess.pods import ready_count
from appstack_operator.desired.credentials import decode
from appstack_operator.desired.pooler import COMPONENT
from appstack_operator.objects import component_of
from appstack_operator.observed import Observed

WITH_A_SPARE = 2  # pods of which one may be lost


def pooler_is_the_door(stack: AppStack, seen: Observed) -> bool:
    """Whether the backend is to be sent through the pooler.

    A stack that already serves goes past it until the loss of one of its pods would leave another, where the spec
    asks for more than one: it is not to be less available than before. From then on there is no way back: to restart
    the backend whenever the poolers are away would cost more than to wait for them.
    """
    if not stack.spec.postgres.pooler.enabled or seen.get("Service", f"{stack.name}-{COMPONENT}") is None:
        return False
    needed = min(stack.spec.postgres.pooler.replicas, WITH_A_SPARE)
    return ready_count(seen.pods(COMPONENT)) >= needed or goes_through_it(stack, seen) or not has_backend(seen)


def goes_through_it(stack: AppStack, seen: Observed) -> bool:
    """Whether the backend was told the pooler's address before."""
    environment = seen.get("Secret", f"{stack.name}-env")
    told = decode(environment).get("DATABASE_URL", "") if environment else ""
    return f"@{stack.name}-{COMPONENT}." in told


def has_backend(seen: Observed) -> bool:
    """Whether anybody may already be served some other way."""
    return any(component_of(each) != COMPONENT for each in seen.of_kind("Deployment"))

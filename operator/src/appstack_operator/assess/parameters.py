"""Is PostgreSQL set as the spec asks? Pure."""

from appstack_operator.api import AppStack
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.context import Context
from appstack_operator.desired.parameters import describe_proposals, describe_refusals


def parameters_are_taken(stack: AppStack, context: Context) -> Verdict | None:
    """PostgreSQL refuses none of the user's settings."""
    said = describe_refusals(stack, context.parameters) if context.parameters else ""
    return Verdict.false(Reason.PARAMETER_REFUSED, said) if said else None


def parameters_are_looked_at(context: Context) -> Verdict | None:
    """Every member has said whether it takes them."""
    said = describe_proposals(context.parameters) if context.parameters else ""
    return Verdict.true(Reason.ROLLOUT_IN_PROGRESS, said) if said else None

"""Whether an operator is at work: at rest it writes nothing but its Lease, so only that tells how old a status is."""

from dataclasses import dataclass
from datetime import datetime

from appstack_operator.client import Api, ApiError
from appstack_operator.objects import Object
from appstack_operator.plugin.operators import FORBIDDEN, find_operator, is_fresh, lease_of, renewed_at
from appstack_operator.plugin.text import age_of


@dataclass(frozen=True, slots=True)
class OperatorSign:
    """What its Lease says of the operator; `is_away` None: it could not be seen."""

    is_away: bool | None
    message: str = ""
    lease: str = ""  # NAMESPACE/NAME
    renewed_at: str | None = None


async def look_for_operator(api: Api, operator_namespace: str, namespace: str, now: datetime) -> OperatorSign:
    """Find the operator that watches a namespace, and read its Lease."""
    found = await find_operator(api, operator_namespace, namespace, now)
    if found.deployment is None:
        return OperatorSign(None, f"{found.why_none}: does it run?")
    ref = lease_of(found.deployment)
    place = f"{ref.namespace}/{ref.name}"
    try:
        lease = await api.get(ref)
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return OperatorSign(None, f"whether the operator runs cannot be seen: {error.message}", place)
    return sign_of(lease, place, now)


def sign_of(lease: Object | None, place: str, now: datetime) -> OperatorSign:
    """Whether somebody has renewed it lately."""
    at = renewed_at(lease)
    if not at:
        text = f"no operator is at work: there is no Lease {place}. Nobody keeps what follows up to date"
        return OperatorSign(True, text, place)
    if is_fresh(lease, now):
        return OperatorSign(False, "", place, at)
    since = f"since {at.partition('.')[0].removesuffix('Z')}Z ({age_of(at, now)})"
    text = f"no operator is at work: its Lease {place} has not been renewed {since}. What follows is as old as that"
    return OperatorSign(True, text, place, at)

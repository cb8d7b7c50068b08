"""Whether an operator is at work: at rest it writes nothing but its Lease, so only that tells how old a status is."""

from dataclasses import dataclass
from datetime import datetime

from appstack_operator.client import Api, ApiError
from appstack_operator.kinds import LEASE, Ref
from appstack_operator.objects import Object
from appstack_operator.plugin.cluster import FORBIDDEN, environment_of, find_operator, settings_of
from appstack_operator.plugin.text import age_of

# Renewed every 2 s, taken over within 16 s; the rest is for clocks that differ.
SILENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class OperatorSign:
    """What its Lease says of the operator; `is_away` None: it could not be seen."""

    is_away: bool | None
    message: str = ""
    lease: str = ""  # NAMESPACE/NAME
    renewed_at: str | None = None


async def look_for_operator(api: Api, operator_namespace: str, namespace: str, now: datetime) -> OperatorSign:
    """Find the operator that watches a namespace, and read its Lease."""
    operator = await find_operator(api, operator_namespace, namespace)
    if operator is None:
        return OperatorSign(None, "the operator's Deployment was not found (--operator-namespace?): does it run?")
    home, name = operator["metadata"]["namespace"], settings_of(environment_of(operator)).lease_name
    try:
        lease = await api.get(Ref(LEASE.name, home, name))
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return OperatorSign(None, f"whether the operator runs cannot be seen: {error.message}", f"{home}/{name}")
    return sign_of(lease, f"{home}/{name}", now)


def sign_of(lease: Object | None, place: str, now: datetime) -> OperatorSign:
    """Whether somebody has renewed it lately."""
    renewed_at = ((lease or {}).get("spec") or {}).get("renewTime")
    if not renewed_at:
        text = f"no operator is at work: there is no Lease {place}. Nobody keeps what follows up to date"
        return OperatorSign(True, text, place)
    if (now - datetime.fromisoformat(renewed_at)).total_seconds() <= SILENCE_SECONDS:
        return OperatorSign(False, "", place, renewed_at)
    since = f"since {renewed_at.partition('.')[0].removesuffix('Z')}Z ({age_of(renewed_at, now)})"
    text = f"no operator is at work: its Lease {place} has not been renewed {since}. What follows is as old as that"
    return OperatorSign(True, text, place, renewed_at)

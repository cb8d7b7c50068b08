"""Who could take over from PostgreSQL's primary at once. A pod that is ready may still copy, or be far behind. Pure."""

from collections.abc import Callable

from appstack_operator.api import AppStack
from appstack_operator.desired.postgres import synchronous_mode
from appstack_operator.desired.quantities import MEBIBYTE
from appstack_operator.observed import Observed, PostgresMember

# Patroni promotes nobody who is further behind (maximum_lag_on_failover).
LAG_LIMIT_BYTES = MEBIBYTE


def heirs(stack: AppStack, seen: Observed, may: Callable[[str], bool] = lambda _: True) -> list[str]:
    """The pods that could be promoted now, as far as they may: of synchronous standbys, where there are to be any."""
    members = (member for member in seen.postgres.members if member.role != "primary" and may(member.pod))
    return [member.pod for member in members if can_take_over(stack, member)]


def can_take_over(stack: AppStack, member: PostgresMember) -> bool:
    """Whether it follows the primary and Patroni would promote it."""
    if member.error or member.state != "streaming":
        return False
    if synchronous_mode(stack):
        return member.is_sync
    return member.lag_bytes is not None and member.lag_bytes <= LAG_LIMIT_BYTES


def why_not(stack: AppStack, seen: Observed, may: Callable[[str], bool] = lambda _: True) -> str:
    """Each member that may take over and cannot, in a few words."""
    said = []
    for member in seen.postgres.members:
        if member.role == "primary" or not may(member.pod) or can_take_over(stack, member):
            continue
        lag = "" if synchronous_mode(stack) else f", {member.lag_bytes} bytes behind"
        is_late = ", not synchronous" if synchronous_mode(stack) and not member.is_sync else lag
        said.append(f"{member.pod}: {member.error or f'{member.role} {member.state}{is_late}'}")
    return "; ".join(said) or "no other member answers"

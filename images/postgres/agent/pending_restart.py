"""Parameters that need a restart: members restart one by one, replicas first, the primary last. Rules, and a loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from patroni_api import ask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

POLL_SECONDS = 5.0
RESTART_SECONDS = 60.0
AGAIN_SECONDS = 20.0
WELL = {"running", "streaming"}
# A replica can only start with at least what its primary had: a lower value reaches it after the primary.
NEVER_BELOW_THE_PRIMARY = {
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_worker_processes",
}

Member = dict[str, Any]


def reasons(member: Mapping[str, Any]) -> dict[str, Any]:
    """Parameter -> old and new value, for what waits for a restart of this member."""
    found = member.get("pending_restart_reason")
    return dict(found) if isinstance(found, dict) else {}


def waits_for_the_primary(member: Member) -> bool:
    """Whether a restart of this replica would change nothing yet."""
    return follows_the_primary(reasons(member))


def follows_the_primary(why: Mapping[str, Any]) -> bool:
    """Whether all that changes goes down, and has to go down in the primary first."""
    return bool(why) and all(name in NEVER_BELOW_THE_PRIMARY and is_lower(each) for name, each in why.items())


def is_lower(change: Any) -> bool:
    """Whether a numeric setting goes down."""
    try:
        return int(change["new_value"]) < int(change["old_value"])
    except (KeyError, TypeError, ValueError):
        return False


def whose_turn(members: Sequence[Member]) -> str | None:
    """The member that restarts next; None while nobody has to, or while any other one is not well."""
    if any(member.get("state") not in WELL for member in members):
        return None
    waiting = [member for member in members if member.get("pending_restart")]
    leaders = [member["name"] for member in waiting if member["role"] == "leader"]
    replicas = [m["name"] for m in waiting if m["role"] != "leader" and not (leaders and waits_for_the_primary(m))]
    return min(replicas, default=None) or (leaders[0] if leaders else None)


def was_in_vain(member: Member, tried: Mapping[str, Any], since_seconds: float) -> bool:
    """Whether a restart for exactly this was made and did not bring it: then another one would not either.

    But a replica that had not yet replayed that its primary has less now starts with what it had, and is tried again.
    """
    why = reasons(member)
    if not why or why != tried:
        return False
    may_follow = member["role"] != "leader" and follows_the_primary(why)
    return not (may_follow and since_seconds >= AGAIN_SECONDS)


def main(me: str, say: Any) -> None:
    """Restart this member when it is its turn; for ever."""
    tried: dict[str, Any] = {}
    tried_at = 0.0
    while True:
        time.sleep(POLL_SECONDS)
        try:
            members = ask("GET", "/cluster").get("members", [])
        except (OSError, AttributeError):
            continue  # Patroni is starting, stopping or slow: the next look will tell
        mine = next((member for member in members if member["name"] == me), {"role": "replica"})
        if whose_turn(members) != me or was_in_vain(mine, tried, time.monotonic() - tried_at):
            continue
        why = reasons(mine)
        say(f"restarts for {', '.join(sorted(why)) or 'changed settings'}")
        tried = why
        try:
            ask("POST", "/restart", {"restart_pending": True}, RESTART_SECONDS)
        except OSError as error:
            say(f"the restart was not done: {error}")
        tried_at = time.monotonic()

"""Asks every PostgreSQL member's Patroni how it is. Short time limits; silence is an answer, never an exception."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import aiohttp

from appstack_operator.api import AppStack
from appstack_operator.desired.context import Credentials
from appstack_operator.objects import Object
from appstack_operator.observed import PostgresAnswers, PostgresMember
from appstack_operator.services.http import session, url_of

PATRONI_PORT = 8008


async def observe_postgres(stack: AppStack, pods: Sequence[Object], credentials: Credentials) -> PostgresAnswers:
    """The answers of all members."""
    async with session() as http:
        answers = await asyncio.gather(*(ask_member(http, pod) for pod in pods))
    return PostgresAnswers(with_lag(answers))


async def ask_member(http: aiohttp.ClientSession, pod: Object) -> tuple[PostgresMember, int | None]:
    """What one member says about itself, and its position in the WAL (bytes)."""
    name, address = pod["metadata"]["name"], pod.get("status", {}).get("podIP")
    if not address:
        return PostgresMember(name, error="the pod has no address yet"), None
    try:
        # The status code is for load balancers (503: not the primary); the body is the answer.
        async with http.get(url_of(address, PATRONI_PORT, "/patroni")) as response:
            facts = await response.json()
        return member_of(name, facts), position_of(facts)
    except (aiohttp.ClientError, TimeoutError) as error:
        is_late = isinstance(error, TimeoutError)
        return PostgresMember(name, error=str(error) or "no answer within 2 s", is_late=is_late), None
    except (ValueError, KeyError, TypeError, AttributeError):
        return PostgresMember(name, error=f"what answers on port {PATRONI_PORT} does not speak as Patroni does"), None


def member_of(pod: str, facts: dict[str, Any]) -> PostgresMember:
    """Patroni's answer in our words."""
    return PostgresMember(
        pod,
        role=facts.get("role", ""),
        state=streaming_state(facts),
        timeline=facts.get("timeline"),
        is_sync=bool(facts.get("sync_standby") or facts.get("quorum_standby")),
        pending_restart=bool(facts.get("pending_restart")),
    )


def streaming_state(facts: dict[str, Any]) -> str:
    """`streaming` for a replica that follows its primary, else PostgreSQL's own state."""
    return str(facts.get("replication_state") or facts["state"])


def position_of(facts: dict[str, Any]) -> int | None:
    """How far this member's WAL reaches: written on a primary, received or replayed on a replica."""
    xlog = facts.get("xlog") or {}
    known = [xlog[key] for key in ("location", "received_location", "replayed_location") if xlog.get(key) is not None]
    return max(known) if known else None


def with_lag(answers: Sequence[tuple[PostgresMember, int | None]]) -> tuple[PostgresMember, ...]:
    """The members, each replica with its distance to the primary."""
    head = next((position for member, position in answers if member.role == "primary"), None)
    if head is None:
        return tuple(member for member, _ in answers)
    return tuple(
        replace(member, lag_bytes=max(head - position, 0))
        if position is not None and member.role != "primary"
        else member
        for member, position in answers
    )

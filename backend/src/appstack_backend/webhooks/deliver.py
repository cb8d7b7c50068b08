"""Delivering webhooks: one attempt per message; retries and breakers are in the database."""

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpcore

from appstack_backend import __version__
from appstack_backend.database import Database
from appstack_backend.logs import get_logger
from appstack_backend.metrics import WEBHOOKS
from appstack_backend.repository import subscriptions as repository
from appstack_backend.settings import Settings
from appstack_backend.webhooks.guard import AddressRefused, GuardedNetwork, origin
from appstack_backend.webhooks.names import NamesBusy
from appstack_backend.webhooks.places import Places
from appstack_backend.webhooks.sign import headers

log = get_logger()
PROBE_SECONDS = 30.0
LONGEST_DEFERRAL_SECONDS = 60.0
GONE = 410


class DeliveryDead(Exception):
    """The last attempt failed; the text is the reason that the dead-letter queue shows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to."""

    status: int | None
    error: str | None

    @property
    def is_delivered(self) -> bool:
        return self.error is None


class Sender:
    """Sends signed requests. One per process; it follows no redirect and keeps no cookie."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_seconds = settings.webhook_timeout_seconds
        self.places = Places(settings.webhook_concurrency, settings.webhook_target_concurrency)
        self._pool = httpcore.AsyncConnectionPool(
            max_connections=settings.webhook_concurrency,
            max_keepalive_connections=0,  # the next attempt resolves and checks the name again
            network_backend=GuardedNetwork(settings.webhook_allow_private),
        )

    async def send(self, url: str, secret: str, message_id: str, body: str) -> Outcome:
        """One POST; what goes wrong is an outcome. Raises NamesBusy where its name could not even be asked for."""
        sent: dict[bytes | str, bytes | str] = {
            "content-type": "application/json",
            "user-agent": f"appstack-backend/{__version__}",
            **headers(secret, message_id, int(time.time()), body),
        }
        try:
            async with asyncio.timeout(self._timeout_seconds):
                async with self._pool.stream("POST", url, headers=sent, content=body.encode()) as response:
                    status = int(response.status)
        except AddressRefused as error:
            return Outcome(None, str(error))
        except (TimeoutError, httpcore.TimeoutException):
            return Outcome(None, f"no answer within {self._timeout_seconds:g} s")
        except (OSError, httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            log.info("a webhook's target cannot be reached", url_origin=origin(url), error=repr(error))
            return Outcome(None, "the target cannot be reached")
        return Outcome(status, None if 200 <= status < 300 else f"the target answered {status}")

    async def close(self) -> None:
        await self._pool.aclose()


async def deliver(
    database: Database, sender: Sender, settings: Settings, delivery_id: UUID, attempt: int, is_resent: bool
) -> None:
    """Make one attempt. Raises DeliveryDead when it was the last; safe to be killed and repeated anywhere.

    A kill between the target's answer and its record repeats the request with the same `webhook-id`.
    """
    row = await repository.delivery(database, delivery_id, reopen=is_resent)
    if row is None:
        log.info("the subscription is gone")
        return
    if row["subscription_state"] != "active":
        if row["state"] == "pending":
            await record(database, settings, row, Outcome(None, "the subscription is disabled"), is_sent=False)
        log.info("the subscription is disabled", state=row["state"])
        return
    if row["state"] == "dead":
        raise DeliveryDead(f"webhook not delivered: {row['last_error']}")
    if row["state"] == "delivered" or not (is_resent or attempt == row["attempts"]):
        log.info("the attempt was made before", state=row["state"], attempts=row["attempts"])
        return
    target = origin(row["url"])
    until = await repository.open_until(database, breaker_of(row), timedelta(seconds=PROBE_SECONDS))
    if until is not None:
        await repository.rest(database, row["subscription_id"], until)
        await defer(database, row, until, "the target is left alone after failures")
        return
    if not await sender.places.take(target):
        await defer(database, row, later(row), "other requests to the target are under way")
        return
    try:
        outcome = await sender.send(row["url"], row["secret"], str(row["id"]), row["payload"])
    except NamesBusy:
        await defer(database, row, later(row), "the names of other targets are being resolved")
        return
    finally:
        await sender.places.give_back(target)
    await record(database, settings, row, outcome)


def breaker_of(row: dict[str, Any]) -> str:
    """What opens together: a target, for one token. URLs of another one may fail at a host that answers this one."""
    return f"{row['owner']} {origin(row['url'])}"


def later(row: dict[str, Any]) -> datetime:
    """When a delivery that found no room asks again: the longer it has waited, the less often.

    Many that wait for a slow target would keep all others busy with being deferred.
    """
    waited_seconds = min(max(row["age_seconds"], 0.0), LONGEST_DEFERRAL_SECONDS)
    return datetime.now(UTC) + timedelta(seconds=waited_seconds * random.uniform(0.2, 0.8))  # noqa: S311


async def defer(database: Database, row: dict[str, Any], until: datetime, why: str) -> None:
    """Try later; this was no attempt."""
    WEBHOOKS.labels("deferred").inc()
    jitter = timedelta(seconds=random.uniform(0, 1))  # noqa: S311  # not a secret
    await repository.defer(database, row["id"], row["attempts"], until, jitter, why)


async def record(
    database: Database, settings: Settings, row: dict[str, Any], outcome: Outcome, is_sent: bool = True
) -> None:
    """Write down what came of an attempt, and when the next one is due.

    Unsent, it tells nothing of its target, and is no dead letter: who sent it back would find its subscription ended.
    """
    delays = settings.webhook_delays
    is_last = not is_sent or row["attempts"] >= len(delays) or outcome.status == GONE
    state = "delivered" if outcome.is_delivered else "dead" if is_last else "pending"
    delay = None
    if state == "pending":
        seconds = delays[row["attempts"]]
        delay = timedelta(seconds=seconds * random.uniform(1, 1.1))  # noqa: S311
    values = {
        "id": row["id"],
        "subscription_id": row["subscription_id"],
        "attempt": row["attempts"],
        "state": state,
        "status": outcome.status,
        "error": outcome.error,
        "delay": delay,
    }
    target = {
        "origin": breaker_of(row),
        "is_failure": not outcome.is_delivered,
        "threshold": settings.webhook_breaker_failures,
        "open": timedelta(seconds=settings.webhook_breaker_seconds),
    }
    disable = "the target answered 410 Gone" if outcome.status == GONE else None
    WEBHOOKS.labels(state if state != "pending" else "failed").inc()
    log.info("webhook attempt", state=state, status=outcome.status, error=outcome.error, attempt=row["attempts"])
    await repository.record(database, values, target if is_sent else None, disable)
    if state == "dead" and is_sent:
        raise DeliveryDead(f"webhook not delivered: {outcome.error}")

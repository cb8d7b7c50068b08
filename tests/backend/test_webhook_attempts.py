"""Attempts at webhooks, one by one: how long each waits, which targets are left alone, and who has which share."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from appstack_backend.repository import subscriptions
from appstack_backend.webhooks.deliver import DeliveryDead, Sender, deliver
from tests.backend.kit.processes import ADMIN_TOKEN
from tests.backend.kit.receiver import receiver
from tests.backend.test_queries import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from appstack_backend.processes import Stores


@dataclass(frozen=True, slots=True)
class ByHand:
    """Subscriptions whose deliveries the test attempts itself: no worker, no waiting."""

    http: httpx.AsyncClient
    stores: Stores
    sender: Sender

    async def subscribe(self, url: str, token: str = ADMIN_TOKEN) -> str:
        """The id of a new subscription."""
        wanted = {"url": url, "events": ["product.changed"]}
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self.http.post("/v1/subscriptions", json=wanted, headers=headers)
        return str(answer.json()["id"])

    async def tell(self, event_id: str) -> None:
        await subscriptions.fan_out(self.stores.database, event_id, "product.changed", "{}", "r")

    async def newest(self, subscription_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/subscriptions/{subscription_id}/deliveries")
        delivery: dict[str, Any] = answer.json()["items"][0]
        return delivery

    async def attempt(self, subscription_id: str) -> dict[str, Any]:
        """What became of the newest delivery by another attempt."""
        before = await self.newest(subscription_id)
        database, settings = self.stores.database, self.stores.settings
        with suppress(DeliveryDead):
            await deliver(database, self.sender, settings, UUID(before["id"]), before["attempts"], is_resent=False)
        return await self.newest(subscription_id)


@asynccontextmanager
async def by_hand(dsn: str, **settings: Any) -> AsyncIterator[ByHand]:
    async with application(dsn, webhook_allow_private=True, **settings) as (http, stores):
        sender = Sender(stores.settings)
        yield ByHand(http, stores, sender)
        await sender.close()


async def test_each_attempt_waits_as_long_as_is_set_for_it(dsn: str) -> None:
    with receiver(500) as hook:
        async with by_hand(dsn, webhook_backoff_seconds="10,100") as hand:
            subscription = await hand.subscribe(hook.url)
            await hand.tell("e")
            for attempts, seconds in ((1, 10), (2, 100)):
                before = datetime.now(UTC)
                delivery = await hand.attempt(subscription)
                assert (delivery["state"], delivery["attempts"]) == ("pending", attempts)
                due, slack = datetime.fromisoformat(delivery["next_attempt_at"]), timedelta(seconds=5)
                assert timedelta(seconds=seconds) - slack <= due - before <= 1.1 * timedelta(seconds=seconds) + slack
            last = await hand.attempt(subscription)
            assert (last["state"], last["attempts"], last["next_attempt_at"]) == ("dead", 3, None)


async def test_only_failures_in_a_row_open_a_breaker_and_waiting_is_no_attempt(dsn: str) -> None:
    with receiver(500, 500, 200, 500) as hook:
        async with by_hand(dsn, webhook_breaker_failures=3, webhook_breaker_seconds=60) as hand:
            subscription = await hand.subscribe(hook.url)
            statuses = []
            for number in range(6):
                await hand.tell(f"e{number}")
                statuses.append((await hand.attempt(subscription))["last_status"])
            assert statuses == [500, 500, 200, 500, 500, 500]
            await hand.tell("waits")
            before = datetime.now(UTC)
            waits = await hand.attempt(subscription)
            assert (waits["state"], waits["attempts"], waits["last_status"]) == ("pending", 0, None)
            assert waits["last_error"] == "the target is left alone after failures"
            due = datetime.fromisoformat(waits["next_attempt_at"]) - before
            assert timedelta(seconds=50) < due < timedelta(seconds=70)
            assert len(hook.got) == 6


async def test_one_attempt_alone_probes_a_target_that_was_left_alone(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("INSERT INTO webhook_targets VALUES ('t', 9, now() - '1 s'::interval)")
    async with by_hand(dsn) as hand:
        asked = [subscriptions.open_until(hand.stores.database, "t", timedelta(seconds=30)) for _ in range(8)]
        assert [until is None for until in await asyncio.gather(*asked)].count(True) == 1


DUE = """
    INSERT INTO deliveries (id, subscription_id, event_id, event, payload, request_id, next_attempt_at)
    SELECT gen_random_uuid(), %s, n::text, 'product.changed', '{}', 'r', now() - %s::interval
    FROM generate_series(1, %s) n"""
DUE_COUNT = "SELECT count(*) FROM deliveries WHERE subscription_id = %s AND next_attempt_at <= now()"


async def test_what_waits_for_a_dead_target_keeps_nothing_from_others(dsn: str) -> None:
    """However much it is, and for however long it was due; while the target is left alone it makes no work."""
    with receiver(500) as dead, receiver() as healthy, psycopg.connect(dsn, autocommit=True) as conn:

        def due(subscription: str) -> int:
            row = conn.execute(DUE_COUNT, (subscription,)).fetchone()
            return int(row[0]) if row else 0

        async with by_hand(dsn, webhook_breaker_failures=1) as hand:
            broken, fine = await hand.subscribe(dead.url), await hand.subscribe(healthy.url)
            conn.execute(DUE, (broken, "1 hour", 2_000))
            conn.execute(DUE, (fine, "1 s", 3))
            assert await subscriptions.promote(hand.stores.database, 100) == 100
            assert due(fine) == 0, "each has its share"
            assert (await hand.attempt(broken))["last_status"] == 500
            assert (await hand.attempt(broken))["last_error"] == "the target is left alone after failures"
            left = due(broken)
            assert left > 1_900
            for _ in range(3):
                assert await subscriptions.promote(hand.stores.database, 100) == 0
            conn.execute(DUE.replace("n::text", "'more' || n"), (fine, "1 s", 3))
            assert await subscriptions.promote(hand.stores.database, 100) == 3
            assert due(broken) == left, "it is left where it is"
            conn.execute("UPDATE subscriptions SET rests_until = now()")
            assert await subscriptions.promote(hand.stores.database, 100) == 100, "alone, one has all of it"


async def test_what_one_leaves_of_its_share_the_others_get(dsn: str) -> None:
    """Many with little to send would leave one that has much to catch up with next to nothing."""
    with receiver() as hook, psycopg.connect(dsn, autocommit=True) as conn:
        async with by_hand(dsn) as hand:
            much, *little = [await hand.subscribe(hook.url) for _ in range(11)]
            conn.execute(DUE, (much, "1 s", 500))
            for subscription in little:
                conn.execute(DUE, (subscription, "1 s", 2))
            assert await subscriptions.promote(hand.stores.database, 100) == 100
            assert conn.execute(DUE_COUNT, (much,)).fetchone() == (420,)
            conn.execute(DUE.replace("n::text", "'more' || n"), (little[0], "1 s", 50))
            assert await subscriptions.promote(hand.stores.database, 60) == 60
            assert conn.execute(DUE_COUNT, (much,)).fetchone() == (390,), "still no more than an equal one"
            assert conn.execute(DUE_COUNT, (little[0],)).fetchone() == (20,)


async def test_what_waits_for_a_target_that_answers_again_is_sent_at_once(dsn: str) -> None:
    """Whoever asked while another one probed it had left it alone for half a minute more."""
    with receiver(500, 200) as hook, psycopg.connect(dsn, autocommit=True) as conn:
        async with by_hand(dsn, webhook_breaker_failures=1) as hand:
            subscription = await hand.subscribe(hook.url)
            conn.execute(DUE, (subscription, "1 s", 10))
            assert await subscriptions.promote(hand.stores.database, 2) == 2
            assert (await hand.attempt(subscription))["last_status"] == 500
            assert (await hand.attempt(subscription))["last_error"] == "the target is left alone after failures"
            assert await subscriptions.promote(hand.stores.database, 100) == 0
            conn.execute("UPDATE webhook_targets SET open_until = now()")
            await hand.tell("again")
            assert (await hand.attempt(subscription))["last_status"] == 200
            assert await subscriptions.promote(hand.stores.database, 100) > 0


async def test_two_who_promote_at_once_send_nothing_twice(dsn: str) -> None:
    with receiver() as hook, psycopg.connect(dsn, autocommit=True) as conn:
        async with by_hand(dsn) as hand:
            conn.execute(DUE, (await hand.subscribe(hook.url), "1 s", 250))
            found = await asyncio.gather(*(subscriptions.promote(hand.stores.database, 100) for _ in range(4)))
            sent = conn.execute("SELECT count(*), count(DISTINCT message_id) FROM outbox").fetchone()
            assert sent == (sum(found), sum(found))


async def test_urls_of_one_token_that_fail_keep_nothing_from_another_token(dsn: str) -> None:
    """Hosts that everybody uses answer each URL for itself."""
    with receiver(404, 404, 404, 200) as hook:
        async with by_hand(dsn, webhook_breaker_failures=3) as hand:
            made = await hand.http.post("/v1/tokens", json={"name": "t", "scopes": ["write"]})
            failing, fine = await hand.subscribe(hook.url, made.json()["token"]), await hand.subscribe(hook.url)
            await hand.tell("e")
            for _ in range(3):
                assert (await hand.attempt(failing))["last_status"] == 404
            assert (await hand.attempt(failing))["last_error"] == "the target is left alone after failures"
            assert (await hand.attempt(fine))["state"] == "delivered"


async def test_what_waits_for_an_ended_subscription_is_no_dead_letter(dsn: str) -> None:
    """It ended because somebody wanted it to, and who sent the letter back would get the same one again."""
    with receiver() as hook:
        async with by_hand(dsn) as hand:
            made = (await hand.http.post("/v1/tokens", json={"name": "t", "scopes": ["write"]})).json()
            subscription = await hand.subscribe(hook.url, made["token"])
            await hand.tell("e")
            assert (await hand.http.delete(f"/v1/tokens/{made['id']}")).is_success
            delivery_id = UUID((await hand.newest(subscription))["id"])
            for _ in range(2):
                await deliver(hand.stores.database, hand.sender, hand.stores.settings, delivery_id, 0, is_resent=False)
            ended = await hand.newest(subscription)
            assert (ended["state"], ended["last_error"]) == ("dead", "the subscription is disabled")
            assert hook.got == []

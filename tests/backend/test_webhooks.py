"""Webhooks: signed, tried again, dead-lettered and visible, kept away from private addresses."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from appstack_backend.repository import subscriptions
from appstack_backend.webhooks import guard
from appstack_backend.webhooks.deliver import Sender, deliver
from appstack_backend.webhooks.names import Names
from tests.backend.kit import feeds
from tests.backend.kit.processes import wait_until
from tests.backend.kit.receiver import receiver
from tests.backend.test_messages import dead_letters, publish
from tests.backend.test_queries import application

if TYPE_CHECKING:
    from tests.backend.kit.processes import Api, Backend

PRIVATE = {"WEBHOOK_ALLOW_PRIVATE": "true"}
THING = {"name": "Thing", "price": "1", "currency": "EUR"}


@pytest.fixture
def api(backend: Backend) -> Api:
    backend.start_api(**PRIVATE)
    return backend.client()


def subscribe(api: Api, url: str, *events: str) -> dict[str, Any]:
    answer = api.http.post("/v1/subscriptions", json={"url": url, "events": list(events)})
    assert answer.status_code == httpx.codes.CREATED, answer.text
    subscription: dict[str, Any] = answer.json()
    return subscription


def deliveries(api: Api, subscription: dict[str, Any]) -> list[dict[str, Any]]:
    return api.pages(f"/v1/subscriptions/{subscription['id']}/deliveries")


def test_every_event_reaches_its_subscribers_once_and_signed(api: Api, backend: Backend, rabbitmq: str) -> None:
    worker = backend.start_worker(**PRIVATE)
    with receiver() as everything, receiver() as products:
        subscription = subscribe(api, everything.url, "import.finished", "export.finished", "product.changed")
        subscribe(api, products.url, "product.changed")
        job = api.feed(feeds.as_csv(feeds.rows(10, seed=51)))
        api.export()
        assert api.http.put("/v1/products/A", json=THING).is_success
        wait_until(lambda: len(everything.got) == 3 and products.got, "all is delivered")
        told = {body["type"]: body["data"] for body in everything.bodies}
        assert told["import.finished"] == {"id": job["id"], "state": "succeeded"}
        assert told["export.finished"]["state"] == "succeeded"
        assert told["product.changed"] == {"sku": "A"}
        assert [body["type"] for body in products.bodies] == ["product.changed"]
        assert everything.all_are_signed_with(subscription["secret"])
        wait_until(lambda: {d["state"] for d in deliveries(api, subscription)} == {"delivered"}, "that is recorded")
        # The same event told again makes no delivery.
        publish(rabbitmq, "notifications", b'{"kind": "event", "event": "product.changed", "request_id": "r"}')
        publish(rabbitmq, "notifications", b'{"kind": "event", "event": "product.changed", "request_id": "r"}')
        wait_until(lambda: len(products.got) == 2, "the event of the test arrives once")
        queue = 'appstack_messages_total{outcome="done",queue="notifications"}'
        wait_until(lambda: worker.metrics()[queue] >= 9, "both messages were answered")
        assert len(products.got) == 2


def test_an_export_that_fails_is_told_too(api: Api, backend: Backend, dsn: str) -> None:
    """And once more, when it succeeds after all."""
    with psycopg.connect(dsn, autocommit=True) as conn, receiver() as hook:
        subscribe(api, hook.url, "export.finished")
        conn.execute("ALTER TABLE export_pieces ADD CONSTRAINT none CHECK (number < 0) NOT VALID")
        backend.start_worker(**PRIVATE)
        answer = api.http.post("/v1/exports", json={}, headers={"X-Request-Id": "the-users"})
        told = wait_until(lambda: hook.bodies, "the failure is told")
        assert told[0]["data"] == {"id": answer.json()["id"], "state": "failed"}
        shown = api.http.get(answer.headers["Location"]).json()
        assert (shown["state"], shown["code"]) == ("failed", "INTERNAL_ERROR")
        assert "the-users" in shown["error"]["message"], "the operator of the service asks for it"
        conn.execute("ALTER TABLE export_pieces DROP CONSTRAINT none")
        backend.run("dead-letters", "resend", "bulk", "--all")
        wait_until(lambda: len(hook.bodies) == 2, "the success is told")
        assert hook.bodies[1]["data"] == {"id": answer.json()["id"], "state": "succeeded"}


def test_a_secret_is_shown_once_and_a_subscription_can_be_ended(api: Api) -> None:
    subscription = subscribe(api, "https://example.com/hook", "product.changed")
    secret = subscription.pop("secret")
    assert secret.startswith("whsec_")
    path = f"/v1/subscriptions/{subscription['id']}"
    assert api.http.get(path).json() == subscription
    assert api.pages("/v1/subscriptions") == [subscription]
    assert secret not in api.http.get(path).text + api.http.get("/v1/subscriptions").text
    assert api.http.delete(path).status_code == 204
    assert api.http.delete(path).status_code == 204, "asked again after an answer that was lost"
    assert api.http.get(path).status_code == 404
    assert api.http.delete(f"/v1/subscriptions/{uuid4()}").status_code == 404, "there never was one"


def test_who_may_only_read_is_not_told_where_others_are_told(api: Api) -> None:
    subscription = subscribe(api, "https://example.com/their-secret", "product.changed")
    path = f"/v1/subscriptions/{subscription['id']}"
    urls = {}
    for scope in ("read", "write", "admin"):
        token = api.http.post("/v1/tokens", json={"name": "n", "scopes": sorted({"read", scope})}).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        one, page = (api.http.get(each, headers=headers) for each in (path, "/v1/subscriptions"))
        assert one.json() == page.json()["items"][0]
        urls[scope] = one.json()["url"]
    assert urls == {"read": None, "write": subscription["url"], "admin": subscription["url"]}


def test_a_failing_target_is_tried_again_and_then_dead_lettered_with_its_reason(
    api: Api, backend: Backend, rabbitmq: str
) -> None:
    backend.start_worker(**PRIVATE, WEBHOOK_BACKOFF_SECONDS="0.1,0.1", WEBHOOK_BREAKER_FAILURES="99")
    with receiver(500, 503, 200) as healing, receiver(500) as failing:
        healed = subscribe(api, healing.url, "product.changed")
        failed = subscribe(api, failing.url, "product.changed")
        assert api.http.put("/v1/products/A", json=THING).is_success
        wait_until(lambda: [d["state"] for d in deliveries(api, healed)] == ["delivered"], "the third attempt succeeds")
        wait_until(lambda: [d["state"] for d in deliveries(api, failed)] == ["dead"], "the other one is given up")
        assert len(healing.got) == len(failing.got) == 3
        assert len({headers["webhook-id"] for headers, _ in healing.got}) == 1, "a repeat carries the same id"
        (dead,) = deliveries(api, failed)
        assert (dead["attempts"], dead["last_status"], dead["last_error"]) == (3, 500, "the target answered 500")
        (letter,) = wait_until(lambda: dead_letters(rabbitmq, "notifications"), "the dead letter")
        assert letter[1]["x-reason"] == "webhook not delivered: the target answered 500"


def test_a_target_that_keeps_failing_is_left_alone_and_others_are_not(api: Api, backend: Backend) -> None:
    backoff = ",".join(["0.05"] * 20)
    backend.start_worker(
        **PRIVATE, WEBHOOK_BACKOFF_SECONDS=backoff, WEBHOOK_BREAKER_FAILURES="3", WEBHOOK_BREAKER_SECONDS="4"
    )
    with receiver(500, 500, 500, 200) as failing, receiver() as healthy:
        broken, fine = (subscribe(api, one.url, "product.changed") for one in (failing, healthy))
        assert api.http.put("/v1/products/A", json=THING).is_success
        # It opens when the third answer is noted: what came between the two would be sent.
        wait_until(lambda: any(d["attempts"] >= 3 for d in deliveries(api, broken)), "the breaker opens")
        for sku in "BC":
            assert api.http.put(f"/v1/products/{sku}", json=THING).is_success
        wait_until(lambda: len(healthy.got) == 3, "the healthy target hears all")
        assert {d["state"] for d in deliveries(api, fine)} <= {"delivered", "pending"}
        wait_until(lambda: {d["state"] for d in deliveries(api, broken)} == {"delivered"}, "it is tried again")
        assert len(failing.got) == 6
        assert failing.times[3] - failing.times[2] > 3.9, "nothing is sent while the breaker is open"


def test_a_target_that_is_gone_ends_its_subscription(api: Api, backend: Backend) -> None:
    backend.start_worker(**PRIVATE)
    with receiver(410) as gone:
        subscription = subscribe(api, gone.url, "product.changed")
        for _ in range(2):
            assert api.http.put("/v1/products/A", json=THING).is_success
            path = f"/v1/subscriptions/{subscription['id']}"
            wait_until(lambda: api.http.get(path).json()["state"] == "disabled", "it is disabled")  # noqa: B023
        assert api.http.get(path).json()["disabled_reason"] == "the target answered 410 Gone"
        assert len(gone.got) == 1


def test_what_a_disabled_subscription_leaves_over_is_no_failure_of_its_target(
    api: Api, backend: Backend, dsn: str
) -> None:
    """Others have subscriptions there too: nothing was sent, so nothing is known."""
    with receiver() as hook, psycopg.connect(dsn, autocommit=True) as conn:
        ended, fine = (subscribe(api, hook.url, "product.changed") for _ in range(2))
        for sku in "ABCD":
            assert api.http.put(f"/v1/products/{sku}", json=THING).is_success
        conn.execute("UPDATE subscriptions SET state = 'disabled' WHERE id = %s", (ended["id"],))
        conn.execute(
            "INSERT INTO deliveries (id, subscription_id, event_id, event, payload, request_id, next_attempt_at)"
            " SELECT gen_random_uuid(), %s, n::text, 'product.changed', '{}', 'r', now() FROM generate_series(1, 9) n",
            (ended["id"],),
        )
        backend.start_worker(**PRIVATE, WEBHOOK_BREAKER_FAILURES="3")
        wait_until(lambda: {d["state"] for d in deliveries(api, ended)} == {"dead"}, "they are given up")
        wait_until(lambda: [d["state"] for d in deliveries(api, fine)] == ["delivered"] * 4, "the other hears all")
        assert conn.execute("SELECT * FROM webhook_targets").fetchall() == []
        assert len(hook.got) == 4


def test_redirects_are_not_followed(api: Api, backend: Backend) -> None:
    backend.start_worker(**PRIVATE, WEBHOOK_BACKOFF_SECONDS="0.1")
    with receiver() as inside, receiver(307, location=inside.url) as redirecting:
        subscription = subscribe(api, redirecting.url, "product.changed")
        assert api.http.put("/v1/products/A", json=THING).is_success
        wait_until(lambda: [d["state"] for d in deliveries(api, subscription)] == ["dead"], "it is given up")
        assert (len(redirecting.got), inside.got) == (2, [])
        assert deliveries(api, subscription)[0]["last_status"] == 307


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost:8000/x",
        "http://[::1]/x",
        "http://0x7f000001/x",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[::ffff:192.168.0.1]/",
        "ftp://example.com/",
        "http://user:password@example.com/",
        "http://exa mple.com/",
        "https:///nowhere",
    ],
)
def test_private_addresses_are_refused(backend: Backend, guarded: Api, url: str) -> None:
    answer = guarded.http.post("/v1/subscriptions", json={"url": url, "events": ["product.changed"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "WEBHOOK_URL_REFUSED"), url


@pytest.fixture
def guarded(backend: Backend) -> Api:
    backend.start_api()
    return backend.client()


def test_a_delivery_to_a_private_address_is_refused_too(api: Api, backend: Backend) -> None:
    """As when a name that was public at first resolves to a private address later."""
    with receiver() as private:
        subscription = subscribe(api, private.url, "product.changed")
        backend.start_worker(WEBHOOK_BACKOFF_SECONDS="0.1")
        assert api.http.put("/v1/products/A", json=THING).is_success
        wait_until(lambda: [d["state"] for d in deliveries(api, subscription)] == ["dead"], "it is given up")
        assert private.got == []
        assert deliveries(api, subscription)[0]["last_error"] == "the host has an address that is not public"


def test_a_dead_delivery_that_is_sent_back_starts_anew(api: Api, backend: Backend) -> None:
    backend.start_worker(**PRIVATE, WEBHOOK_BACKOFF_SECONDS="0.1")
    with receiver(500, 500, 200) as healing:
        subscription = subscribe(api, healing.url, "product.changed")
        assert api.http.put("/v1/products/A", json=THING).is_success
        wait_until(lambda: [d["state"] for d in deliveries(api, subscription)] == ["dead"], "it is given up")
        backend.run("dead-letters", "resend", "notifications", "--all")
        wait_until(lambda: [d["state"] for d in deliveries(api, subscription)] == ["delivered"], "it is delivered")
        assert len(healing.got) == 3


async def test_names_that_are_never_answered_use_up_nobody_elses_attempts(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery whose name cannot even be asked for comes again later, as if it had not been tried."""
    answers, ask = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *args: Any, **more: Any) -> Any:
        return ask(host, *args, **more) if not host.endswith(".test") else answers.wait(60) and []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(guard, "NAMES", Names(most=2))
    with receiver() as hook:
        async with application(dsn, webhook_allow_private=True) as (http, stores):
            answer = await http.post("/v1/subscriptions", json={"url": hook.url, "events": ["product.changed"]})
            path = f"/v1/subscriptions/{answer.json()['id']}/deliveries"
            await subscriptions.fan_out(stores.database, "e", "product.changed", "{}", "r")

            async def attempt() -> tuple[str, int, str | None]:
                (before,) = (await http.get(path)).json()["items"]
                delivery_id = UUID(before["id"])
                await deliver(stores.database, sender, stores.settings, delivery_id, 0, is_resent=False)
                (after,) = (await http.get(path)).json()["items"]
                return after["state"], after["attempts"], after["last_error"]

            sender = Sender(stores.settings)
            slow = [asyncio.create_task(guard.NAMES.resolve(f"{number}.test", 80)) for number in range(2)]
            await asyncio.sleep(0)
            assert await attempt() == ("pending", 0, "the names of other targets are being resolved")
            answers.set()
            await asyncio.gather(*slow)
            assert await attempt() == ("delivered", 1, None)
            await sender.close()

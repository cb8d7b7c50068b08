"""What becomes of work whose answer was lost: on its way to the client, or between database and API."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from appstack_backend.database import Database
from tests.backend.kit import feeds
from tests.backend.kit.processes import ADMIN_TOKEN, wait_until
from tests.backend.test_queries import application

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.backend.kit.processes import Backend


@contextmanager
def sent(port: int, path: str, media_type: str, body: bytes, headers: str = "") -> Iterator[None]:
    """A whole request whose sender waits as long as the block runs, and is then gone without a look at the answer.

    One who hangs up at once may be found gone before the request is read: then it is not carried out, and need not be.
    """
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nContent-Type: {media_type}\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head.encode() + body)
        yield


def test_an_import_whose_answer_was_lost_is_found_by_its_key(backend: Backend) -> None:
    backend.start_api()
    backend.start_worker()
    api, body = backend.client(), feeds.as_csv(feeds.rows(1_200, seed=91))
    with sent(backend.api_port, "/v1/imports", "text/csv", body, "Idempotency-Key: lost\r\n"):
        wait_until(lambda: api.pages("/v1/jobs"), "it was begun")
    first = api.ended(api.pages("/v1/jobs")[0]["id"])
    again = api.feed(body, Idempotency_Key="lost")
    assert again["id"] == first["id"] and again["state"] == "succeeded"
    assert again["rows"] == {"received": 1_200, "imported": 1_200, "rejected": 0}
    assert len(api.pages("/v1/jobs")) == 1


def test_a_token_whose_answer_was_lost_is_found_by_its_name_and_revoked(backend: Backend) -> None:
    backend.start_api()
    http = backend.client().http
    body = json.dumps({"name": "lost", "scopes": ["read"]}).encode()
    with sent(backend.api_port, "/v1/tokens", "application/json", body):
        (token,) = wait_until(lambda: http.get("/v1/tokens").json()["items"], "it was made")
    assert (token["name"], token["revoked_at"]) == ("lost", None)
    revoked = http.delete(f"/v1/tokens/{token['id']}")
    assert revoked.is_success and revoked.json()["revoked_at"]
    assert http.delete(f"/v1/tokens/{token['id']}").json() == revoked.json(), "asked again"


def test_an_import_that_failed_on_our_side_may_be_sent_again_at_once(backend: Backend, dsn: str) -> None:
    backend.start_api()
    backend.start_worker()
    api, body = backend.client(), feeds.as_csv(feeds.rows(1_200, seed=93))
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ALTER TABLE import_chunks ADD CONSTRAINT broken CHECK (number < 1) NOT VALID")
        assert api.post(body, Idempotency_Key="again").status_code == 500
        conn.execute("ALTER TABLE import_chunks DROP CONSTRAINT broken")
    job = api.feed(body, Idempotency_Key="again")
    assert (job["state"], job["rows"]["imported"]) == ("succeeded", 1_200)


async def test_work_whose_commits_answer_was_lost_is_answered_as_if_done_once(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is repeated, as after a failover, though its first commit stands."""
    patiently = Database._patiently

    async def lost_and_repeated(self: Database, work: Any, patience_seconds: float) -> Any:
        await patiently(self, work, patience_seconds)
        return await patiently(self, work, patience_seconds)

    monkeypatch.setattr(Database, "_patiently", lost_and_repeated)
    async with application(dsn, export_max_running=1) as (http, _):
        token = (await http.post("/v1/tokens", json={"name": "n", "scopes": ["read"]})).json()
        assert token["name"] == "n" and token["id"] and token["token"]
        hook = {"url": "https://192.0.0.9/", "events": ["product.changed"]}
        subscription = await http.post("/v1/subscriptions", json=hook)
        assert subscription.status_code == 201, subscription.text
        gone = await http.delete(subscription.headers["Location"])
        assert gone.status_code == 204, gone.text
        export = await http.post("/v1/exports", json={})
        assert export.status_code == 202, export.text
        key = {"Content-Type": "text/csv", "Idempotency-Key": "k"}
        feed = await http.post("/v1/imports", content=feeds.as_csv(feeds.rows(10, seed=92)), headers=key)
        assert feed.status_code == 202, feed.text
        assert feed.json()["rows"]["received"] == 10
    with psycopg.connect(dsn) as conn:
        counts = [
            conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            for table in ("tokens", "subscriptions", "exports", "imports", "import_chunks")
        ]
    assert counts == [(1,), (0,), (1,), (1,), (1,)]

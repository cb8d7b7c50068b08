"""The API beyond imports: health, errors, tokens, the catalogue's pages, the cache, jobs."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import psycopg
import pytest

from tests.backend.kit import feeds
from tests.backend.kit.processes import PATIENCE_SECONDS, wait_until
from tests.backend.test_queries import application

if TYPE_CHECKING:
    from tests.backend.kit.processes import Api, Backend


@pytest.fixture
def api(backend: Backend) -> Api:
    backend.start_api()
    return backend.client()


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem, which must be a complete one."""
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert {"type", "title", "status", "detail", "code"} <= problem.keys()
    return answer.status_code, problem["code"]


def test_every_failure_is_a_problem_with_its_code(api: Api, backend: Backend) -> None:
    http = api.http
    anonymous = httpx.Client(base_url=f"http://127.0.0.1:{backend.api_port}", timeout=PATIENCE_SECONDS)
    nobody = "00000000-0000-0000-0000-000000000000"
    assert code(anonymous.get("/v1/products")) == (401, "TOKEN_MISSING")
    assert code(anonymous.get("/v1/products", headers={"Authorization": "Bearer x"})) == (401, "TOKEN_INVALID")
    assert code(http.get("/nowhere")) == (404, "NOT_FOUND")
    assert code(http.put("/v1/jobs")) == (405, "METHOD_NOT_ALLOWED")
    assert code(http.get("/v1/products?limit=501")) == (400, "REQUEST_INVALID")
    assert code(http.get("/v1/products?cursor=*")) == (400, "REQUEST_INVALID")
    assert code(http.get("/v1/products/NONE")) == (404, "NOT_FOUND")
    for path in ("/v1/imports/x", f"/v1/imports/{nobody}", f"/v1/imports/{nobody}/errors", f"/v1/exports/{nobody}"):
        assert code(http.get(path)) == (404, "NOT_FOUND"), path
    assert code(http.post("/v1/imports", content=b"x")) == (415, "MEDIA_TYPE_UNSUPPORTED")
    assert code(api.post(b"x", Content_Encoding="br")) == (415, "MEDIA_TYPE_UNSUPPORTED")
    assert code(http.post("/v1/exports", content=b"{")) == (400, "REQUEST_INVALID")
    assert code(http.post("/v1/exports", json={"format": "xml"})) == (400, "REQUEST_INVALID")


def test_a_request_id_is_kept_and_finds_its_log_lines(api: Api, backend: Backend) -> None:
    answer = api.http.get("/nowhere", headers={"X-Request-Id": "my-request-1"})
    assert answer.json()["request_id"] == "my-request-1"

    def events() -> set[str]:
        return {line["event"] for line in backend.started[0].lines() if line.get("request_id") == "my-request-1"}

    # The line of the whole request is written once the answer has left.
    wait_until(lambda: events() == {"request failed", "request"}, "both lines are written")
    odd = api.http.get("/nowhere", headers={"X-Request-Id": "a b\tc"})
    assert odd.headers["X-Request-Id"] != "a b\tc"


def test_tokens_have_scopes_and_can_be_revoked(api: Api, backend: Backend, dsn: str) -> None:
    answer = api.http.post("/v1/tokens", json={"name": "reader", "scopes": ["read"]})
    assert answer.status_code == 201
    token = answer.json()
    with psycopg.connect(dsn) as conn:
        stored = conn.execute("SELECT tokens::text FROM tokens").fetchone()
    assert stored is not None and token["token"] not in stored[0]
    reader = httpx.Client(
        base_url=f"http://127.0.0.1:{backend.api_port}",
        headers={"Authorization": f"Bearer {token['token']}"},
        timeout=PATIENCE_SECONDS,
    )
    assert reader.get("/v1/products").status_code == 200
    assert code(reader.post("/v1/imports", content=b"x")) == (403, "SCOPE_MISSING")
    assert code(reader.get("/v1/tokens")) == (403, "SCOPE_MISSING")
    (listed,) = api.pages("/v1/tokens")
    assert listed["name"] == "reader" and "token" not in listed
    assert api.http.delete(f"/v1/tokens/{token['id']}").json()["revoked_at"]
    wait_until(lambda: reader.get("/v1/products").status_code == 401, "the token stops working")


def test_a_revoked_token_ends_its_subscriptions_and_no_others(api: Api) -> None:
    token = api.http.post("/v1/tokens", json={"name": "w", "scopes": ["read", "write"]}).json()
    wanted = {"url": "https://192.0.0.9/hook", "events": ["product.changed"]}
    headers = {"Authorization": f"Bearer {token['token']}"}
    made = [api.http.post("/v1/subscriptions", json=wanted, headers=each) for each in (headers, api.http.headers)]
    assert [answer.status_code for answer in made] == [201, 201]
    assert api.http.delete(f"/v1/tokens/{token['id']}").is_success
    states = {each["id"]: (each["state"], each["disabled_reason"]) for each in api.pages("/v1/subscriptions")}
    ended, kept = (states[answer.json()["id"]] for answer in made)
    assert (ended, kept) == (("disabled", "its token was revoked"), ("active", None))
    # For seconds more the token is remembered; what it made now would have nobody to end it.
    assert api.http.post("/v1/subscriptions", json=wanted, headers=headers).status_code == 401
    assert len(api.pages("/v1/subscriptions")) == 2


LISTINGS = (
    *("/v1/products", "/v1/categories", "/v1/suppliers", "/v1/jobs", "/v1/tokens", "/v1/subscriptions"),
    *("/v1/imports/{}/errors", "/v1/subscriptions/{}/deliveries"),
)
MOMENTS = (  # which Python knows, and PostgreSQL partly does not
    *("2026-01-01T00:00:00+23:59", "2026-01-01T00:00:00-20:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59Z"),
    *("9999-12-31T23:59:59-23:59", "2026-01-01T00:00:00.000001+00:00:00.000001", "0001-01-01T00:00:00-00:00:01"),
)
TAMPERED = (
    *([moment, str(UUID(int=7))] for moment in MOMENTS),
    *(
        [],
        [None],
        [True],
        [{}],
        [[]],
        [1e300],
        [-1],
        [1 << 62],
        ["\0"],
        ["\uffff" * 3_000],
        ["x", "y", "z"],
        "text",
        {},
    ),
    *(["2026-01-01T00:00:00Z", 7], ["2026-01-01T00:00:00", str(UUID(int=7))], [str(UUID(int=7)).upper()]),
)


async def test_a_cursor_that_nobody_was_given_is_refused_or_taken(dsn: str) -> None:
    """As if a page had ended there; whatever it holds, it is no fault of ours."""
    async with application(dsn) as (http, _):
        known = (await http.post("/v1/imports", content=feeds.HEADER, headers={"Content-Type": "text/csv"})).json()
        hook = {"url": "https://192.0.0.9/hook", "events": ["product.changed"]}
        subscription = (await http.post("/v1/subscriptions", json=hook)).json()
        for listing in LISTINGS:
            path = listing.format((subscription if "subscriptions" in listing else known)["id"])
            for values in TAMPERED:
                cursor = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
                answer = await http.get(path, params={"cursor": cursor})
                told = (answer.status_code, answer.json().get("code"))
                assert told in ((200, None), (400, "REQUEST_INVALID")), (path, values, told)


def test_products_are_paged_and_filtered(api: Api, backend: Backend) -> None:
    backend.start_worker()
    feed = feeds.rows(300, seed=31)
    api.feed(feeds.as_csv(feed))
    assert [p["sku"] for p in api.pages("/v1/products", limit=7)] == sorted(row[0] for row in feed)
    for name, column in (("category", 2), ("supplier", 3)):
        wanted = feed[0][column]
        found = {p["sku"] for p in api.pages("/v1/products", limit=3, **{name: wanted})}
        assert found == {row[0] for row in feed if row[column] == wanted}
    assert {p["sku"] for p in api.pages("/v1/products", q="größe end")} == {r[0] for r in feed if "Größe" in r[1]}
    assert [c["name"] for c in api.pages("/v1/categories", limit=3)] == sorted({row[2] for row in feed})
    backend.run("job", "refresh-statistics")
    counts = {s["name"]: s["products"] for s in api.pages("/v1/suppliers", limit=20)}
    assert counts == {name: sum(row[3] == name for row in feed) for name in {row[3] for row in feed}}


def test_a_product_has_an_etag_and_is_never_shown_stale_after_an_import(backend: Backend) -> None:
    """A cache that is told nothing would forget in an hour. Who is told that the import is done is shown nothing older.

    A busy machine's Redis is waited for: what it is not told in time may show later.
    """
    backend.start_api(CACHE_TTL_SECONDS="3600", REDIS_TIMEOUT_SECONDS="30")
    backend.start_worker()
    api = backend.client()
    line = "A/1,Thing,c,s,{},EUR,3,main\n"
    assert code(api.http.get("/v1/products/A/1")) == (404, "NOT_FOUND")  # and remembered as absent
    for price in ("1.50", "2.00"):
        api.feed((feeds.HEADER + line.format(price)).encode())
        assert shows(api, price)
    answer = api.http.get("/v1/products/A/1")
    same = api.http.get("/v1/products/A/1", headers={"If-None-Match": answer.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert answer.json()["stock"] == {"main": 3}
    hits = 'appstack_cache_total{result="hit"}'
    wait_until(lambda: shows(api, "2.00") and backend.started[0].metrics()[hits] >= 2, "it is cached")


def shows(api: Api, price: str) -> bool:
    answer = api.http.get("/v1/products/A/1")
    return answer.is_success and answer.json()["price"] == price


def test_without_redis_everything_works_and_nothing_is_slow(backend: Backend) -> None:
    nobody = {"REDIS_SENTINELS": "127.0.0.1:9,127.0.0.1:10"}
    backend.start_api(**nobody)
    backend.start_worker(**nobody)
    api = backend.client()
    assert api.feed((feeds.HEADER + "A/1,Thing,c,s,1.50,EUR,3,main\n").encode())["state"] == "succeeded"
    seconds = sorted(api.http.get("/v1/products/A/1").elapsed.total_seconds() for _ in range(50))
    assert shows(api, "1.50")
    assert seconds[25] < 0.25, "who waits for Redis waits for a second"


def test_jobs_run_twice_at_once(api: Api, backend: Backend, dsn: str) -> None:
    backend.start_worker()
    api.feed(feeds.as_csv(feeds.rows(1_200, seed=32)))
    export = api.http.post("/v1/exports", json={"format": "csv"}).json()
    wait_until(lambda: api.http.get(f"/v1/exports/{export['id']}").json()["state"] == "succeeded", "the export ends")
    assert {job["kind"] for job in api.pages("/v1/jobs", limit=1)} == {"import", "export"}
    with psycopg.connect(dsn) as conn:
        for table in ("imports", "exports"):
            conn.execute(f"UPDATE {table} SET created_at = now() - interval '1 year'".encode())
    for name in ("purge-expired", "refresh-statistics", "sweep-outbox"):
        both = [backend.start("job", name) for _ in range(2)]
        assert [process.popen.wait(PATIENCE_SECONDS) for process in both] == [0, 0], name
    assert api.pages("/v1/jobs") == []
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT count(*) FROM import_chunks").fetchone() == (0,)
    assert len(api.pages("/v1/products", limit=500)) == 1_200


def test_sigterm_drains_the_api(backend: Backend) -> None:
    """Unready at once, serving for the pause, then gone; no request in between fails."""
    process = backend.start_api(DRAIN_PAUSE_SECONDS="12")  # so long, that a busy machine gets three answers
    http = backend.client().http
    process.popen.terminate()
    wait_until(lambda: http.get("/readyz").status_code == 503, "it is unready")
    assert code(http.get("/readyz")) == (503, "SHUTTING_DOWN")
    assert http.get("/v1/products").status_code == 200
    assert process.popen.wait(PATIENCE_SECONDS) == 0


def test_the_api_describes_itself(api: Api) -> None:
    document = api.http.get("/openapi.json").json()
    assert {"/v1/imports", "/v1/products/{sku}", "/v1/exports/{id}/content"} <= document["paths"].keys()
    page = api.http.get("/docs")
    assert page.status_code == 200 and "/v1/imports" in page.text


THING = {"name": "Thing", "category": "c", "supplier": "s", "price": "1.50", "currency": "EUR", "stock": {"main": 3}}


def test_a_product_is_changed_only_by_who_has_seen_it(api: Api) -> None:
    http, path = api.http, "/v1/products/A/1"
    created = http.put(path, json=THING, headers={"If-None-Match": "*"})
    assert (created.status_code, created.json()["stock"]) == (201, {"main": 3})
    assert code(http.put(path, json=THING, headers={"If-None-Match": "*"})) == (412, "PRECONDITION_FAILED")
    seen = http.get(path).headers["ETag"]
    assert seen == created.headers["ETag"]
    patched = http.patch(path, json={"price": "2.00", "stock": {"north": 1}}, headers={"If-Match": seen})
    assert patched.status_code == 200
    assert patched.json() | {"price": "2.00", "name": "Thing", "stock": {"main": 3, "north": 1}} == patched.json()
    assert http.get(path).json() == patched.json()
    for method in ("PUT", "PATCH", "DELETE"):
        assert code(http.request(method, path, json=THING, headers={"If-Match": seen})) == (412, "PRECONDITION_FAILED")
    assert http.delete(path, headers={"If-Match": patched.headers["ETag"]}).status_code == 204
    assert code(http.get(path)) == (404, "NOT_FOUND")
    assert code(http.delete(path)) == (404, "NOT_FOUND")
    assert code(http.patch(path, json={"price": "1"})) == (404, "NOT_FOUND")
    for wrong in (
        {"price": "x"},
        {"price": 1},
        {"name": ""},
        {"stock": {"main": -1}},
        {"stock": [1]},
        {"currency": "e"},
        {"stock": {"main": 1, " ": 2}},
    ):
        assert code(http.put(path, json=THING | wrong)) == (400, "REQUEST_INVALID"), wrong


def test_a_precondition_holds_for_the_product_that_is_written(api: Api) -> None:
    """A SKU and a warehouse are stored as an import stores them, so no other spelling gets past what was checked."""
    http, new = api.http, {"If-None-Match": "*"}
    assert http.put("/v1/products/A", json=THING, headers=new).status_code == 201
    for other in ("A%20", "%20A", "A%0A"):
        assert code(http.put(f"/v1/products/{other}", json=THING, headers=new)) == (400, "REQUEST_INVALID"), other
        assert code(http.get(f"/v1/products/{other}")) == (404, "NOT_FOUND")
        assert code(http.delete(f"/v1/products/{other}")) == (404, "NOT_FOUND")
    patched = http.patch("/v1/products/A", json={"stock": {"": 5, " north ": 1}})
    assert patched.json()["stock"] == {"main": 5, "north": 1}


def test_names_are_in_use_while_a_product_has_them(api: Api) -> None:
    for sku, name in (("A", "one"), ("B", "two"), ("C", "two"), ("D", "zero")):
        assert api.http.put(f"/v1/products/{sku}", json=THING | {"category": name, "supplier": name}).is_success
    for sku in "ABD":
        assert api.http.delete(f"/v1/products/{sku}").is_success
    for kind in ("categories", "suppliers"):
        assert [item["name"] for item in api.pages(f"/v1/{kind}", limit=1)] == ["two"]
    assert api.http.put("/v1/products/A", json=THING | {"category": "one"}).is_success
    assert [item["name"] for item in api.pages("/v1/categories")] == ["one", "two"]


def test_entity_tags_may_come_in_several_header_lines(api: Api) -> None:
    tag = api.http.put("/v1/products/A", json=THING).headers["ETag"]
    lines = [("If-None-Match", '"other"'), ("If-None-Match", tag)]
    assert api.http.get("/v1/products/A", headers=lines).status_code == 304
    lines = [("If-Match", '"other"'), ("If-Match", tag)]
    assert api.http.put("/v1/products/A", json=THING, headers=lines).status_code == 200


def test_nothing_is_remembered_of_what_no_product_can_be(api: Api, backend: Backend) -> None:
    for sku in ("x" * 201, "%20", "A%00"):
        for _ in range(2):
            assert code(api.http.get(f"/v1/products/{sku}")) == (404, "NOT_FOUND"), sku
    looked_up = {name for name in backend.started[0].metrics() if name.startswith("appstack_cache_total")}
    assert not looked_up & {f'appstack_cache_total{{result="{what}"}}' for what in ("miss", "unreachable")}


async def test_of_many_who_create_a_product_at_once_one_does(dsn: str) -> None:
    async with application(dsn) as (http, _):
        for sku in "ABCDE":
            puts = [
                http.put(f"/v1/products/{sku}", json=THING, headers={"If-None-Match": "*"}, timeout=60)
                for _ in range(8)
            ]
            statuses = sorted(answer.status_code for answer in await asyncio.gather(*puts))
            assert statuses == [201] + [412] * 7


def test_an_import_accepted_before_a_change_does_not_undo_it(api: Api, backend: Backend) -> None:
    rows = "".join(f"{sku},Old,c,s,1,EUR,9,{house}\n" for sku in "ABC" for house in ("main", "north"))
    for sku in "AB":
        assert api.http.put(f"/v1/products/{sku}", json=THING).status_code == 201
    job = api.post((feeds.HEADER + rows).encode()).json()  # no worker applies it yet
    assert api.http.put("/v1/products/A", json=THING | {"name": "New"}).status_code == 200
    assert api.http.delete("/v1/products/B").status_code == 204
    backend.start_worker()
    assert api.ended(job["id"])["rows"]["imported"] == 6
    shown = {product["sku"]: (product["name"], product["stock"]) for product in api.pages("/v1/products")}
    assert shown == {"A": ("New", {"main": 3, "north": 9}), "C": ("Old", {"main": 9, "north": 9})}
    assert sorted({row[0] for row in feeds.exported(api.export())}) == ["A", "C"]
    # A later import brings the product back, but not the stock from before its deletion.
    api.feed((feeds.HEADER + "B,Back,c,s,1,EUR,5,south\n").encode())
    assert api.http.get("/v1/products/B").json()["stock"] == {"south": 5}
    assert [row[6:] for row in feeds.exported(api.export()) if row[0] == "B"] == [("5", "south")]

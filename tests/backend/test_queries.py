"""Every query of every operation: by an index on a million products, and no more queries than were meant.

The application runs in this process, on a real server, with a cursor that asks PostgreSQL for the plan of each
statement before it is executed. Settings of the planner are the defaults; all tables are analysed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from appstack_backend import database, repository, schema
from appstack_backend.cache import Cache
from appstack_backend.http.app import build_app
from appstack_backend.http.context import DEFAULT_LIMIT, ApiState
from appstack_backend.http.routes import OPERATIONS
from appstack_backend.processes import Stores
from appstack_backend.repository import (
    catalogue,
    exports,
    housekeeping,
    imports,
    messages,
    pages,
    rescue,
    subscriptions,
)
from appstack_backend.settings import Settings
from tests.backend.conftest import drop_database, new_database
from tests.backend.kit import feeds, plans
from tests.backend.kit.million import ID, PRODUCTS, fill
from tests.backend.kit.processes import ADMIN_TOKEN
from tests.backend.kit.watch import (
    EXPLAINED,
    SMALL,
    ExplainingCursor,
    MeasuringCursor,
    WornCursor,
    indexes,
    nodes,
    rows_read,
    scans,
    taken,
    with_numbers,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.backend.kit.watch import Plan

pytestmark = pytest.mark.timeout(900)  # a million rows are filled in first, also on a busy machine
PARTIAL = "SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL"
WALKS = {"catalogue.COUNT": {"products"}}  # refresh-statistics counts all of them
PIECES = {
    "exports.EVENT",
    "exports.WITH_EVENT",
    "imports.EVENT",
    "imports.WITH_EVENT",
    "catalogue.WITH_STOCK",
    "catalogue.PRODUCTS",
    "pages.WALK",  # what it reads is measured below
}  # of what is explained whole
# How much is asked for decides a plan; these are known beforehand.
GIVEN = {"batch": "500", "few": "5", "limit": "500", "days": "300", "hours": "7000"}


@pytest.fixture(scope="module")
def million(postgres: str, migrated: str) -> Iterator[str]:
    """A database with a million products."""
    name = f"test_{uuid4().hex}"
    dsn = new_database(postgres, name, template=migrated)
    fill(dsn)
    yield dsn
    drop_database(postgres, name)


@asynccontextmanager
async def application(dsn: str, **more: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Stores]]:
    """The application in this process, without broker or Redis: nothing is cached."""
    settings = Settings(database_url=dsn, api_admin_token=ADMIN_TOKEN, _env_file=None, **more)  # type: ignore[call-arg]
    stores = Stores(settings, "test")
    state = ApiState(stores.settings, stores, Cache(stores.settings), schema_missing=[])
    transport = httpx.ASGITransport(build_app(state))
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with stores, httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
        yield http, stores


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database.CONNECT, "cursor_factory", ExplainingCursor)
    taken()


THING = {"name": "Thing", "price": "1", "currency": "EUR", "stock": {"main": 1}}
CSV = {"Content-Type": "text/csv", "Idempotency-Key": "new"}
HOOK = {"url": "https://192.0.0.9/", "events": ["product.changed"]}
PAGES = ("", "?limit=500", "?limit=2")
FILTERS = tuple(
    f"?{'&'.join(f'{name}={value}' for name in names)}{after}"
    for names in (("category",), ("supplier",), ("q",), ("category", "supplier"), ("category", "q"))
    for value in ("common", "unique")
    for after in ("", "&cursor=WyJTS1UwNTAwMDAwIl0")  # behind SKU0500000
)
WORDS = tuple(f"?q={word}" for word in ("thing", "seldom", "unique", "nowhere", "seldom%20thing"))
# By operation: the requests, and how many statements each may take (to ask the planner is none).
Requests = tuple[dict[str, Any], ...]


def gets(path: str, *queries: str) -> Requests:
    return tuple({"url": path + query} for query in queries or ("",))


CASES: dict[tuple[str, str], tuple[int, Requests]] = {
    ("GET", "/livez"): (0, gets("/livez")),
    ("GET", "/readyz"): (0, gets("/readyz")),
    ("GET", "/v1/products"): (1, gets("/v1/products", *PAGES, *FILTERS, *WORDS)),
    ("GET", "/v1/products/{sku:path}"): (1, gets("/v1/products/SKU0000001")),
    ("PUT", "/v1/products/{sku:path}"): (8, ({"url": "/v1/products/SKU0000002", "json": THING},)),
    ("PATCH", "/v1/products/{sku:path}"): (8, ({"url": "/v1/products/SKU0000002", "json": THING},)),
    ("DELETE", "/v1/products/{sku:path}"): (7, ({"url": "/v1/products/SKU0000003"},)),
    ("GET", "/v1/categories"): (1, gets("/v1/categories", *PAGES, "?cursor=WyJjb21tb24iXQ")),
    ("GET", "/v1/suppliers"): (1, gets("/v1/suppliers", *PAGES)),
    ("GET", "/v1/jobs"): (2, gets("/v1/jobs", *PAGES)),
    ("POST", "/v1/imports"): (
        4,
        ({"url": "/v1/imports", "content": feeds.HEADER + "A,n,,,1,EUR,1,\n", "headers": CSV},),
    ),
    ("GET", "/v1/imports/{id}"): (1, gets("/v1/imports/" + ID.format(1))),
    ("DELETE", "/v1/imports/{id}"): (3, ({"url": "/v1/imports/" + ID.format(1)},)),
    ("GET", "/v1/imports/{id}/errors"): (2, gets(f"/v1/imports/{ID.format(1)}/errors", *PAGES)),
    ("POST", "/v1/exports"): (2, ({"url": "/v1/exports", "json": {}},)),
    ("GET", "/v1/exports/{id}"): (1, gets("/v1/exports/" + ID.format(2))),
    ("GET", "/v1/exports/{id}/content"): (2, gets(f"/v1/exports/{ID.format(2)}/content")),
    ("POST", "/v1/subscriptions"): (2, ({"url": "/v1/subscriptions", "json": HOOK},)),
    ("GET", "/v1/subscriptions"): (1, gets("/v1/subscriptions", *PAGES)),
    ("GET", "/v1/subscriptions/{id}"): (1, gets("/v1/subscriptions/" + ID.format(3))),
    ("GET", "/v1/subscriptions/{id}/deliveries"): (2, gets(f"/v1/subscriptions/{ID.format(3)}/deliveries", *PAGES)),
    ("DELETE", "/v1/subscriptions/{id}"): (2, ({"url": "/v1/subscriptions/" + ID.format(4)},)),
    ("POST", "/v1/tokens"): (1, ({"url": "/v1/tokens", "json": {"name": "n", "scopes": ["read"]}},)),
    ("GET", "/v1/tokens"): (1, gets("/v1/tokens", *PAGES)),
    ("DELETE", "/v1/tokens/{id}"): (2, ({"url": "/v1/tokens/" + ID.format(5)},)),
}
REFUSED = {
    ("DELETE", "/v1/imports/{id}"): 409,
    ("DELETE", "/v1/subscriptions/{id}"): 404,
    ("DELETE", "/v1/tokens/{id}"): 404,
}


def test_every_operation_has_its_case() -> None:
    assert CASES.keys() == {(operation.method, operation.path) for operation in OPERATIONS}


@pytest.mark.usefixtures("watched")
async def test_every_query_is_served_by_an_index_and_none_is_repeated(million: str) -> None:
    """The count does not grow with the page: 500 products take as many statements as 2."""
    async with application(million) as (http, _):
        for (method, path), (most, requests) in CASES.items():
            for request in requests:
                taken()
                answer = await http.request(method, **request)
                assert answer.is_success or answer.status_code == REFUSED.get((method, path)), answer.text
                statements = taken()
                for text, plan in statements:
                    assert scans(plan) == set(), f"{method} {request['url']}: {text}\n{json.dumps(plan, indent=1)}"
                assert len(statements) == most, f"{method} {request['url']}: {[text for text, _ in statements]}"


@pytest.mark.usefixtures("watched")
async def test_a_token_is_looked_up_by_an_index_and_remembered(million: str) -> None:
    async with application(million) as (http, _):
        token = (await http.post("/v1/tokens", json={"name": "n", "scopes": ["read"]})).json()["token"]
        counts = []
        for _ in range(2):
            taken()
            assert (await http.get("/v1/products/A", headers={"Authorization": f"Bearer {token}"})).status_code == 404
            statements = taken()
            assert all(scans(plan) == set() for _, plan in statements)
            counts.append(len(statements))
        assert counts == [2, 1]


@pytest.mark.usefixtures("watched")
async def test_whoever_asks_at_once_with_one_token_waits_for_one_look_up(dsn: str) -> None:
    async with application(dsn) as (http, _):
        token = (await http.post("/v1/tokens", json={"name": "n", "scopes": ["read"]})).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        taken()
        answers = await asyncio.gather(*(http.get("/v1/products/A", headers=headers) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {404}
        assert sum("FROM tokens" in text for text, _ in taken()) == 1


@pytest.mark.usefixtures("watched")
async def test_products_that_are_asked_for_at_once_are_looked_up_together(million: str) -> None:
    async with application(million) as (http, _):
        taken()
        skus = [f"SKU{number:07d}" for number in range(101, 121)]  # the first ones are changed and deleted by others
        answers = await asyncio.gather(*(http.get(f"/v1/products/{sku}") for sku in skus))
        assert [answer.json()["sku"] for answer in answers] == skus
        statements = taken()
        assert all(scans(plan) == set() for _, plan in statements)
        assert len(statements) == 1, [text for text, _ in statements]


@pytest.mark.usefixtures("watched")
async def test_what_runs_in_the_background_uses_indexes_too(million: str) -> None:
    async with application(million) as (_, stores):
        await subscriptions.promote(stores.database)
        await subscriptions.fan_out(stores.database, "e", "export.finished", "{}", "r")
        await subscriptions.delivery(stores.database, UUID(ID.format(9)), reopen=True)
        await imports.end_abandoned(stores.database, "gone")
        async with stores.database.transaction() as conn:
            await messages.take(conn, 100)
        for what in housekeeping.PURGES:
            await housekeeping.purge(stores.database, what, days=300, hours=7_000)
        for queue in rescue.RESCUES:
            await rescue.rescue(stores.database, queue, minutes=300 * 24 * 60)
        statements = taken()
        assert len(statements) >= 13
        for text, plan in statements:
            assert scans(plan) == set(), f"{text}\n{json.dumps(plan, indent=1)}"


def all_statements() -> dict[str, str]:
    """Every statement of every repository module by its name, found in the modules: a new one is in it by itself."""
    found: dict[str, str] = {}
    for name in (module.name for module in pkgutil.iter_modules(repository.__path__)):
        module = importlib.import_module(f"{repository.__name__}.{name}")
        texts = {f"{name}.{key}": value for key, value in vars(module).items() if isinstance(value, str)}
        found |= {key: text for key, text in texts.items() if EXPLAINED.match(text)}
    for piece in PIECES:
        del found[piece]
    templates = {key for key, text in found.items() if re.search(r"{\w+}", text)}
    assert templates == {"catalogue.NAMES", "exports.ROWS"}, "a new template needs its values here"
    names, rows = found.pop("catalogue.NAMES"), found.pop("exports.ROWS")
    found |= {f"catalogue.NAMES of {kind}": names.format(column=kind) for kind in ("category", "supplier")}
    for kind, condition in exports.FILTERS.items():
        found[f"exports.ROWS by {kind}"] = rows.format(conditions=" AND " + condition.format(**{kind: "'unique'"}))
    return found


def generic_plan(conn: psycopg.Connection[Any], text: str) -> Plan:
    """The plan for values that are not known yet."""
    numbered, _ = with_numbers(re.sub(r"%\((\w+)\)s", lambda name: GIVEN.get(name[1], name[0]), text))
    row = conn.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {numbered}".encode()).fetchone()
    assert row is not None
    plan: Plan = row[0][0]["Plan"]
    return plan


def walks(plan: Plan, partial: set[str]) -> set[str]:
    """The tables and indexes that are read without a condition that says where; a partial index has one itself."""
    big = (node for node in nodes(plan) if "Index Name" in node and node.get("Relation Name") not in SMALL)
    return scans(plan) | {node["Index Name"] for node in big if "Index Cond" not in node} - partial


def test_every_statement_of_the_repositories_says_where_to_look(million: str) -> None:
    """Also those that no operation runs: applying chunks, resuming uploads, writing exports, purging, rescuing."""
    with psycopg.connect(million, autocommit=True) as conn:
        conn.execute(catalogue.CREATE_STAGING.encode())
        partial = {row[0] for row in conn.execute(PARTIAL)}
        found = {name: generic_plan(conn, text) for name, text in all_statements().items()}
    assert len(found) > 70
    walked = {name: walks(plan, partial) for name, plan in found.items()}
    assert {name: what for name, what in walked.items() if what} == WALKS
    used = {name: indexes(plan) for name, plan in found.items()}
    assert {name: which for name, which in used.items() if which} == plans.INDEXES


@pytest.mark.parametrize("cursor", [MeasuringCursor, WornCursor])
async def test_a_page_of_products_reads_little_more_than_it_shows(
    million: str, monkeypatch: pytest.MonkeyPatch, cursor: type[MeasuringCursor]
) -> None:
    """By the index that is meant, for rare and common values: rows and blocks are counted as they are read."""
    monkeypatch.setitem(database.CONNECT, "cursor_factory", cursor)
    too_much = []
    async with application(million) as (http, _):
        for query, (allowed, most_rows, most_blocks) in plans.PAGES.items():
            taken()
            assert (await http.get("/v1/products" + query)).is_success
            ((_, plan),) = taken()
            used, rows = indexes(plan) - {"stock_pkey"}, rows_read(plan, "products")
            blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            if not (used and used <= allowed and rows <= most_rows and blocks <= most_blocks):
                too_much.append(f"{query}: {rows} rows, {blocks} blocks by {used}")
    assert too_much == []


async def test_every_other_read_fetches_little_more_than_it_shows(
    million: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs are of two kinds, a page of which is made of as many of each."""
    monkeypatch.setitem(database.CONNECT, "cursor_factory", MeasuringCursor)
    fetched: dict[str, int] = {}
    async with application(million) as (http, _):
        for (method, path), (_, requests) in CASES.items():
            for url in (request["url"] for request in requests if method == "GET" and path != "/v1/products"):
                taken()
                assert (await http.get(url)).is_success
                rows = sum(rows_read(plan) for _, plan in taken())
                shown = int(httpx.URL(url).params.get("limit", DEFAULT_LIMIT))
                if rows > 2 * shown + 5:
                    fetched[url] = rows
    assert fetched == {}


async def test_a_search_ends_however_long_it_finds_nothing(million: str) -> None:
    """Page after page is cut off, until there is something or nothing left."""
    async with application(million) as (http, _):
        for query, first in (("?q=odd&category=common", None), ("?q=late", "SKU0500001")):
            page, requests = (await http.get(f"/v1/products{query}")).json(), 1
            while not page["items"] and page["next_cursor"]:
                page = (await http.get(f"/v1/products{query}&cursor={page['next_cursor']}")).json()
                requests += 1
            assert [item["sku"] for item in page["items"][:1]] == [first][: len(page["items"])]
            assert 1 < requests <= PRODUCTS // 2 // pages.MOST_WALKED + 1


@pytest.mark.usefixtures("watched")
async def test_a_missing_index_is_noticed(million: str) -> None:
    """The test's own test: without its index the same query is caught."""
    with psycopg.connect(million, autocommit=True) as conn:
        conn.execute("DROP INDEX products_by_supplier")
    async with application(million) as (http, _):
        assert (await http.get("/v1/products?supplier=unique&category=common")).is_success
        assert (await http.get("/v1/suppliers")).is_success
        assert any("products" in scans(plan) for _, plan in taken())
    with psycopg.connect(million, autocommit=True) as conn:
        conn.execute("CREATE INDEX products_by_supplier ON products (supplier, sku)")


def test_the_planner_has_its_default_settings(million: str) -> None:
    with psycopg.connect(million) as conn:
        changed = conn.execute(
            "SELECT name, setting FROM pg_settings WHERE category LIKE 'Query Tuning%' AND setting <> boot_val"
        ).fetchall()
    assert changed == []


def test_the_schema_is_that_of_the_migrations(million: str) -> None:
    with psycopg.connect(million) as conn:
        applied = {row[0] for row in conn.execute(schema.APPLIED)}
    assert schema.missing_versions(applied, schema.load_migrations()) == []

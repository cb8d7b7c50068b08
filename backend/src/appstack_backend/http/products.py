"""/v1/products, /v1/categories, /v1/suppliers: the catalogue."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response

from appstack_backend import tracing
from appstack_backend.database import Connection
from appstack_backend.errors import NotFound, PreconditionFailed, RequestInvalid, RowError, SearchesBusy
from appstack_backend.feeds.rows import DEFAULT_WAREHOUSE, LONGEST, copy_line
from appstack_backend.http.context import ApiState, Call, answer, as_cursor, encode, next_cursor
from appstack_backend.repository import catalogue, messages, pages

Product = dict[str, Any]
FIELDS = ("name", "category", "supplier", "price", "currency")
DEFAULTS: Product = {"name": "", "category": "", "supplier": "", "price": "", "currency": "", "stock": {}}
VALID: Product = DEFAULTS | {"name": "x", "price": "1", "currency": "EUR"}


async def page(call: Call) -> Response:
    """One keyset page in the order of SKUs; a search's may be short before the last one."""
    limit, after = call.limit(), call.text_cursor()
    filters = call.filters("category", "supplier", "q")
    if after:
        filters["after"] = after
    async with place(call.state, filters):
        rows, last = await pages.page_of_products(call.reader, filters, limit)
    return answer({"items": rows, "next_cursor": None if last is None else as_cursor(last)})


@asynccontextmanager
async def place(state: ApiState, filters: dict[str, str]) -> AsyncIterator[None]:
    """One of the few places for searches, waited for as long as for the database: others find connections as well."""
    if not pages.is_search(filters):
        yield
        return
    try:
        async with asyncio.timeout(state.settings.database_patience_seconds):
            await state.searches.acquire()
    except TimeoutError:
        raise SearchesBusy() from None
    try:
        yield
    finally:
        state.searches.release()


def cache_key(request: Request) -> str:
    """Where the cache keeps a product; nothing is kept of what no product can be."""
    sku = request.path_params["sku"]
    return f"product:{sku}" if may_exist(sku) else ""


async def show(call: Call) -> Response:
    """One product, from the cache if it is there."""
    sku = call.request.path_params["sku"]
    if not may_exist(sku):
        raise NotFound("there is no such product")

    async def load(needed_lsn: str | None) -> bytes:
        row = await call.state.products.get(sku, needed_lsn)
        return encode(row) if row else b""  # an absent product is remembered too

    body = await call.state.cache.get(cache_key(call.request), call.look, load)
    if not body:
        raise NotFound("there is no such product")
    tag = etag(body)
    if tag in tags(call, "if-none-match"):
        return Response(status_code=304, headers={"etag": tag})
    return Response(body, headers={"etag": tag}, media_type="application/json")


def may_exist(sku: str) -> bool:
    """Whether a product can have this SKU at all: imports and PUT store no other."""
    return 0 < len(sku) <= LONGEST["sku"] and sku == sku.strip() and "\0" not in sku


def etag(body: bytes) -> str:
    """The entity tag of a product's document."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def tags(call: Call, header: str) -> list[str]:
    """The entity tags of a header, which may come as several lines."""
    if header.encode() not in call.request.scope["appstack.headers"]:
        return []
    given = ",".join(call.request.headers.getlist(header)).split(",")
    return [tag.strip().removeprefix("W/").strip() for tag in given if tag.strip()]


async def put(call: Call) -> Response:
    """Create or replace a product; its stock in warehouses that are not named stays."""
    wanted = checked(call, {**DEFAULTS, **await call.json()})
    return await change(call, lambda current: wanted)


async def patch(call: Call) -> Response:
    """Change the given values of a product."""
    body = await call.json()
    checked(call, {**VALID, **body})  # what is wrong whatever the product is

    def patched(current: Product | None) -> Product:
        if current is None:
            raise NotFound("there is no such product")
        return checked(call, {**current, "stock": {}, **body})

    return await change(call, patched)


async def delete(call: Call) -> Response:
    """Delete a product. Imports accepted before do not bring it back."""

    def gone(current: Product | None) -> None:
        if current is None:
            raise NotFound("there is no such product")

    return await change(call, gone)


async def change(call: Call, decide: Callable[[Product | None], Product | None]) -> Response:
    """Apply what `decide` makes of the product as it is now (None: delete it), if the preconditions hold."""
    sku, mark = call.request.path_params["sku"], f"change/{uuid4()}"
    found: list[Product | None] = []  # as it was before each attempt

    async def work(conn: Connection) -> tuple[Product | None, Product | None]:
        before = await catalogue.locked_product(conn, sku) if may_exist(sku) else None
        # The answer to a commit may get lost; whoever then asked again would fail on its own change.
        if found and await messages.is_marked(conn, mark):
            return found[-1], before
        require(call, before)
        wanted = decide(before)
        found.append(before)
        position = await catalogue.next_position(conn)
        if wanted is None:
            await catalogue.delete_product(conn, sku, position)
        else:
            await catalogue.put_product(conn, wanted, position)
        event = {"kind": "event", "event": "product.changed", "sku": sku, "request_id": call.request_id}
        event["traceparent"] = tracing.current()
        await messages.add(conn, "notifications", f"product.changed/{position}", event, mark)
        return before, await catalogue.product_now(conn, sku)

    before, after = await call.state.stores.database.run(work)
    await call.remember(catalogue=True)
    call.state.stores.relay.poke()
    if after is None:
        return Response(status_code=204)
    return answer(after, 200 if before else 201, {"etag": etag(encode(after))})


def require(call: Call, current: Product | None) -> None:
    """Raise PreconditionFailed unless If-Match and If-None-Match allow a change of the product as it is."""
    tag = etag(encode(current)) if current else None
    if_match, if_none_match = tags(call, "if-match"), tags(call, "if-none-match")
    if if_match and not (tag and ("*" in if_match or tag in if_match)):
        raise PreconditionFailed()
    if tag and ("*" in if_none_match or tag in if_none_match):
        raise PreconditionFailed("the product exists" if "*" in if_none_match else "")


def checked(call: Call, product: Product) -> Product:
    """The product with values that an import would allow too, as it would store them."""
    values = [call.request.path_params["sku"], *(as_text(product, name) for name in FIELDS)]
    if not may_exist(values[0]):
        raise RequestInvalid("a SKU has 1 to 200 characters, and no white space at its ends")
    stock = stored_stock(product["stock"])
    try:
        for warehouse, quantity in (stock or {DEFAULT_WAREHOUSE: 0}).items():
            copy_line(0, [*values, str(quantity), warehouse])
    except RowError as error:
        raise RequestInvalid(error.detail) from None
    return dict(zip(("sku", *FIELDS), (value.strip() for value in values), strict=True)) | {"stock": stock}


def stored_stock(given: Any) -> dict[str, int]:
    """Quantities by warehouse, each under the name that an import would give it."""
    if not isinstance(given, dict):
        raise RequestInvalid("stock must be an object of quantities by warehouse")
    if any(isinstance(quantity, bool) or not isinstance(quantity, int) for quantity in given.values()):
        raise RequestInvalid("a quantity must be a whole number")
    stock = {warehouse.strip() or DEFAULT_WAREHOUSE: quantity for warehouse, quantity in given.items()}
    if len(stock) < len(given):
        raise RequestInvalid("a warehouse is named twice")
    return stock


def as_text(product: Product, name: str) -> str:
    value = product[name]
    if not isinstance(value, str):
        raise RequestInvalid(f"{name} must be a text")
    return value


async def categories(call: Call) -> Response:
    return await names(call, "category")


async def suppliers(call: Call) -> Response:
    return await names(call, "supplier")


async def names(call: Call, kind: str) -> Response:
    """One keyset page of names in use."""
    limit = call.limit()
    rows = await catalogue.page_of_names(call.reader, kind, call.text_cursor(), limit)
    return answer({"items": rows, "next_cursor": next_cursor(rows, limit, rows[-1]["name"] if rows else "")})

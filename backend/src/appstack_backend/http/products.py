"""/v1/products, /v1/categories, /v1/suppliers: the catalogue."""

import hashlib

from starlette.responses import Response

from appstack_backend.errors import NotFound
from appstack_backend.http.context import Call, answer, encode, next_cursor
from appstack_backend.repository import catalogue


async def page(call: Call) -> Response:
    """One keyset page in the order of SKUs."""
    limit, after = call.limit(), call.text_cursor()
    filters = call.filters("category", "supplier", "q")
    if after:
        filters["after"] = after
    rows = await catalogue.page_of_products(call.state.stores.database, filters, limit)
    return answer({"items": rows, "next_cursor": next_cursor(rows, limit, rows[-1]["sku"] if rows else "")})


async def show(call: Call) -> Response:
    """One product, from the cache if it is there."""
    sku = call.request.path_params["sku"]

    async def load() -> bytes:
        row = None if "\0" in sku else await catalogue.product(call.state.stores.database, sku)
        return encode(row) if row else b""  # an absent product is remembered too

    body = await call.state.cache.get(f"product:{sku}", load)
    if not body:
        raise NotFound("there is no such product")
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    if tag in [given.strip().removeprefix("W/") for given in call.request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers={"etag": tag})
    return Response(body, headers={"etag": tag}, media_type="application/json")


async def categories(call: Call) -> Response:
    return await names(call, "category")


async def suppliers(call: Call) -> Response:
    return await names(call, "supplier")


async def names(call: Call, kind: str) -> Response:
    """One keyset page of names in use."""
    limit = call.limit()
    rows = await catalogue.page_of_names(call.state.stores.database, kind, call.text_cursor(), limit)
    return answer({"items": rows, "next_cursor": next_cursor(rows, limit, rows[-1]["name"] if rows else "")})

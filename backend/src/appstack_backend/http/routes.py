"""Every operation of the API: address, scope, and what its description says. The router and OpenAPI come from it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from appstack_backend import errors
from appstack_backend.http import exports, health, imports, jobs, products, subscriptions, tokens
from appstack_backend.http.context import Call

PAGE = ("cursor", "limit")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path."""

    method: str
    path: str
    run: Callable[[Call], Awaitable[Response]]
    scope: str | None
    summary: str
    answer: str = ""  # a schema of schemas.SCHEMAS; empty: nothing is sent
    status: int = 200
    also: tuple[int, ...] = ()  # other statuses that are no problem
    sent: str = ""  # the schema of a JSON body
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    body: tuple[str, ...] = ()  # media types
    problems: tuple[type[errors.ApiError], ...] = ()  # its own, beside those that problems.py adds
    cache_key: Callable[[Request], str] | None = None  # of a GET that may be answered from the cache


FEEDS = ("text/csv", "application/x-ndjson")
JSON = ("application/json",)
IF = ("If-Match", "If-None-Match")
SKU = "/v1/products/{sku:path}"  # SKUs may contain slashes


def get(path: str, run: Callable[[Call], Awaitable[Response]], summary: str, answer: str, **more: Any) -> Operation:
    """An operation that reads."""
    return Operation("GET", path, run, more.pop("scope", "read"), summary, answer, **more)


# Routes are tried in this order: what is asked most comes first.
OPERATIONS = (
    get(
        *("/v1/products", products.page, "Products by filter", "ProductPage"),
        query=("category", "supplier", "q", *PAGE),
        problems=(errors.SearchesBusy,),
    ),
    get(
        *(SKU, products.show, "A product", "Product"),
        also=(304,),
        headers=("If-None-Match",),
        problems=(errors.NotFound,),
        cache_key=products.cache_key,
    ),
    Operation(
        *("PUT", SKU, products.put, "write", "Create or replace a product", "Product"),
        also=(201,),
        sent="ProductToPut",
        headers=IF,
        body=JSON,
    ),
    Operation(
        *("PATCH", SKU, products.patch, "write", "Change a product", "Product"),
        problems=(errors.NotFound,),
        sent="ProductToPatch",
        headers=IF,
        body=JSON,
    ),
    Operation(
        *("DELETE", SKU, products.delete, "write", "Delete a product"),
        status=204,
        headers=IF,
        problems=(errors.NotFound,),
    ),
    get("/livez", health.livez, "Whether the process lives", "Status", scope=None),
    get(
        *("/readyz", health.readyz, "Whether the process should be sent requests", "Status"),
        scope=None,
        problems=(errors.ShuttingDown, errors.SchemaNotReady),
    ),
    Operation(
        *("POST", "/v1/imports", imports.create, "write", "Import a feed", "Import", 202),
        body=FEEDS,
        headers=("Idempotency-Key",),
        problems=(
            *(errors.MediaTypeUnsupported, errors.UploadsBusy, errors.IdempotencyKeyReused, errors.IdempotencyKeyBusy),
            *(errors.ImportCancelled, errors.ImportTruncated),
        ),
    ),
    get("/v1/imports/{id}", imports.show, "An import and its progress", "Import"),
    Operation(
        *("DELETE", "/v1/imports/{id}", imports.cancel, "write", "Cancel an import", "Import"),
        problems=(errors.ImportFinished,),
    ),
    get("/v1/imports/{id}/errors", imports.show_errors, "Rejected rows", "RowErrorPage", query=PAGE),
    Operation(
        *("POST", "/v1/exports", exports.create, "read", "Order an export", "Export", 202),
        body=JSON,
        sent="ExportToOrder",
        problems=(errors.ExportsTooMany,),
    ),
    get("/v1/exports/{id}", exports.show, "An export and its progress", "Export"),
    get(
        *("/v1/exports/{id}/content", exports.content, "The file of an export", "File"),
        also=(206,),
        headers=("Range", "If-Range"),
        problems=(errors.ExportNotReady, errors.RangeNotSatisfiable),
    ),
    get("/v1/categories", products.categories, "Categories in use", "NamePage", query=PAGE),
    get("/v1/suppliers", products.suppliers, "Suppliers in use", "NamePage", query=PAGE),
    get("/v1/jobs", jobs.page, "Imports and exports, newest first", "JobPage", query=PAGE),
    Operation(
        *("POST", "/v1/subscriptions", subscriptions.create, "write", "Be told of events", "NewSubscription", 201),
        body=JSON,
        sent="SubscriptionToMake",
        problems=(errors.WebhookUrlRefused, errors.SubscriptionsTooMany),
    ),
    get("/v1/subscriptions", subscriptions.page, "Subscriptions", "SubscriptionPage", query=PAGE),
    get("/v1/subscriptions/{id}", subscriptions.show, "A subscription", "Subscription"),
    Operation("DELETE", "/v1/subscriptions/{id}", subscriptions.delete, "write", "Be told no more", status=204),
    get(
        *("/v1/subscriptions/{id}/deliveries", subscriptions.deliveries, "What was delivered, and what was not"),
        answer="DeliveryPage",
        query=PAGE,
    ),
    Operation(
        *("POST", "/v1/tokens", tokens.create, "admin", "Create a token", "NewToken", 201),
        body=JSON,
        sent="TokenToMake",
    ),
    get("/v1/tokens", tokens.page, "Tokens", "TokenPage", query=PAGE, scope="admin"),
    Operation("DELETE", "/v1/tokens/{id}", tokens.revoke, "admin", "Revoke a token", "Token"),
)

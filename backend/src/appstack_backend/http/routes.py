"""Every operation of the API: address, scope, and what its description says. The router and OpenAPI come from it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

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
    status: int = 200
    answer: str = "Object"  # a schema of openapi.SCHEMAS
    query: tuple[str, ...] = ()
    body: tuple[str, ...] = ()  # media types
    cache_key: Callable[[Request], str] | None = None  # of a GET that may be answered from the cache


FEEDS = ("text/csv", "application/x-ndjson")
JSON = ("application/json",)
SKU = "/v1/products/{sku:path}"  # SKUs may contain slashes
OPERATIONS = (
    Operation("GET", "/livez", health.livez, None, "Whether the process lives"),
    Operation("GET", "/readyz", health.readyz, None, "Whether the process should be sent requests"),
    Operation("POST", "/v1/imports", imports.create, "write", "Import a feed", 202, "Import", body=FEEDS),
    Operation("GET", "/v1/imports/{id}", imports.show, "read", "An import and its progress", answer="Import"),
    Operation("DELETE", "/v1/imports/{id}", imports.cancel, "write", "Cancel an import", answer="Import"),
    Operation(
        "GET", "/v1/imports/{id}/errors", imports.show_errors, "read", "Rejected rows", answer="Page", query=PAGE
    ),
    Operation("POST", "/v1/exports", exports.create, "read", "Order an export", 202, "Export", body=JSON),
    Operation("GET", "/v1/exports/{id}", exports.show, "read", "An export and its progress", answer="Export"),
    Operation("GET", "/v1/exports/{id}/content", exports.content, "read", "The file of an export", answer="File"),
    Operation(
        "GET",
        "/v1/products",
        products.page,
        "read",
        "Products by filter",
        answer="Page",
        query=("category", "supplier", "q", *PAGE),
    ),
    Operation("GET", SKU, products.show, "read", "A product", answer="Product", cache_key=products.cache_key),
    Operation("PUT", SKU, products.put, "write", "Create or replace a product", answer="Product", body=JSON),
    Operation("PATCH", SKU, products.patch, "write", "Change a product", answer="Product", body=JSON),
    Operation("DELETE", SKU, products.delete, "write", "Delete a product", 204),
    Operation("GET", "/v1/categories", products.categories, "read", "Categories in use", answer="Page", query=PAGE),
    Operation("GET", "/v1/suppliers", products.suppliers, "read", "Suppliers in use", answer="Page", query=PAGE),
    Operation("GET", "/v1/jobs", jobs.page, "read", "Imports and exports, newest first", answer="Page", query=PAGE),
    Operation(
        "POST", "/v1/subscriptions", subscriptions.create, "write", "Be told of events", 201, "Subscription", body=JSON
    ),
    Operation("GET", "/v1/subscriptions", subscriptions.page, "read", "Subscriptions", answer="Page", query=PAGE),
    Operation("GET", "/v1/subscriptions/{id}", subscriptions.show, "read", "A subscription", answer="Subscription"),
    Operation("DELETE", "/v1/subscriptions/{id}", subscriptions.delete, "write", "Be told no more", 204),
    Operation(
        "GET",
        "/v1/subscriptions/{id}/deliveries",
        subscriptions.deliveries,
        "read",
        "What was delivered, and what was not",
        answer="Page",
        query=PAGE,
    ),
    Operation("POST", "/v1/tokens", tokens.create, "admin", "Create a token", 201, "Token", body=JSON),
    Operation("GET", "/v1/tokens", tokens.page, "admin", "Tokens", answer="Page", query=PAGE),
    Operation("DELETE", "/v1/tokens/{id}", tokens.revoke, "admin", "Revoke a token", answer="Token"),
)

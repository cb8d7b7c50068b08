"""The description of the API, made from the operations, and a page that shows it without any script."""

import html
import re

from appstack_backend import __version__
from appstack_backend.errors import CATALOGUE
from appstack_backend.http.context import DEFAULT_LIMIT, MOST
from appstack_backend.http.problems import codes_by_status
from appstack_backend.http.routes import FEEDS, OPERATIONS, Operation
from appstack_backend.http.schemas import SCHEMAS, TEXT, UUID_TEXT, Schema

PATH: dict[str, Schema] = {"id": UUID_TEXT, "sku": {**TEXT, "minLength": 1}}
QUERY: dict[str, Schema] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT},
    "cursor": {**TEXT, "description": "`next_cursor` of the page before."},
}
FILTER_TEXT: Schema = {"type": "string", "maxLength": 1_000}
SENT_HEADERS: dict[str, Schema] = {
    "If-Match": {**TEXT, "description": "Only if the product still has this ETag."},
    "If-None-Match": {**TEXT, "description": "Of a GET: 304 if the product still has this ETag. `*`: only if new."},
    "Range": {**TEXT, "description": "`bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT`: 206 with that part."},
    "If-Range": {**TEXT, "description": "The part only if the file still has this ETag, else all of it."},
    "Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": 200},
}


def describe(operation: Operation) -> Schema:
    """One operation."""
    described: Schema = {
        "summary": operation.summary,
        "operationId": f"{operation.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', operation.path).strip('_')}",
        "parameters": parameters(operation),
        "responses": {
            **{str(status): success(operation, status) for status in (operation.status, *operation.also)},
            **{str(status): problem(codes) for status, codes in codes_by_status(operation).items()},
        },
        "security": [{"token": []}] if operation.scope else [],
    }
    if operation.body:
        described["requestBody"] = {
            "required": True,
            "content": {
                media: {"schema": {"$ref": f"#/components/schemas/{operation.sent}"} if operation.sent else {}}
                for media in operation.body
            },
        }
    return described


def parameters(operation: Operation) -> list[Schema]:
    """What is in the path, the query and the headers."""
    path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": PATH[name],
        }
        for name in re.findall(r"{(\w+)", operation.path)
    ]
    query = [{"name": name, "in": "query", "schema": QUERY.get(name, FILTER_TEXT)} for name in operation.query]
    headers = [{"name": name, "in": "header", "schema": SENT_HEADERS[name]} for name in operation.headers]
    return path + query + headers


def success(operation: Operation, status: int) -> Schema:
    """One answer that is no problem."""
    if status in (204, 304):
        return {"description": "Nothing to send"}
    if operation.answer == "File":
        return {"description": "Success", "content": {media: {"schema": TEXT} for media in FEEDS}}
    schema = {"$ref": f"#/components/schemas/{operation.answer}"}
    return {"description": "Success", "content": {"application/json": {"schema": schema}}}


def problem(codes: list[str]) -> Schema:
    """A status that tells of a failure; the code says of which."""
    titles = "; ".join(f"`{code}`: {CATALOGUE[code].title}" for code in codes)
    one_of_these: Schema = {"properties": {"code": {"enum": codes}}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, one_of_these]}
    return {"description": titles, "content": {"application/problem+json": {"schema": schema}}}


def document() -> Schema:
    """The OpenAPI document."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        path = operation.path.replace(":path", "")
        paths.setdefault(path, {})[operation.method.lower()] = describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "AppStack reference backend", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def page() -> str:
    """The page at /docs."""
    rows = "".join(
        f"<tr><td><code>{operation.method}</code><td><code>{html.escape(operation.path.replace(':path', ''))}</code>"
        f"<td>{html.escape(operation.summary)}<td>{operation.scope or 'none'}</tr>"
        for operation in OPERATIONS
    )
    codes = "".join(
        f"<tr><td><code>{code}</code><td>{error.status}<td>{html.escape(' '.join((error.__doc__ or '').split()))}</tr>"
        for code, error in sorted(CATALOGUE.items())
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>AppStack backend</title>"
        "<style>body{font:16px system-ui;margin:2rem auto;max-width:60rem}td,th{text-align:left;padding:.3rem}</style>"
        "<h1>AppStack reference backend</h1><p>Send <code>Authorization: Bearer TOKEN</code>. "
        "The machine-readable description is <a href=/openapi.json>/openapi.json</a>.</p>"
        f"<h2>Operations</h2><table><tr><th>Method<th>Path<th>What<th>Scope</tr>{rows}</table>"
        f"<h2>Errors</h2><table><tr><th>Code<th>Status<th>What to do</tr>{codes}</table></html>"
    )

"""The description of the API, made from the operations, and a page that shows it without any script."""

import html
import re
from typing import Any

from appstack_backend import __version__
from appstack_backend.errors import CATALOGUE
from appstack_backend.http.routes import OPERATIONS, Operation
from appstack_backend.http.subscriptions import EVENTS

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
UUID_TEXT: Schema = {"type": "string", "format": "uuid"}


def record(**properties: Schema) -> Schema:
    """An object with these properties, all of them always there."""
    return {"type": "object", "required": list(properties), "properties": properties}


def nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


ERROR = nullable(record(code=TEXT, message=TEXT))
JOB_TIMES = {"created_at": TIME, "started_at": nullable(TIME), "finished_at": nullable(TIME)}
IMPORT_STATES = ["receiving", "queued", "running", "succeeded", "failed", "cancelled"]
SCHEMAS: dict[str, Schema] = {
    "Object": {"type": "object"},
    "Page": record(items={"type": "array", "items": {"type": "object"}}, next_cursor=nullable(TEXT)),
    "Import": record(
        id=UUID_TEXT,
        kind=TEXT,
        state={"type": "string", "enum": IMPORT_STATES},
        format=TEXT,
        code=nullable(TEXT),
        error=ERROR,
        rows=record(received=COUNT, imported=COUNT, rejected=COUNT),
        chunks=record(total=COUNT, done=COUNT, redelivered=COUNT),
        **JOB_TIMES,
    ),
    "Export": record(
        id=UUID_TEXT,
        kind=TEXT,
        state={"type": "string", "enum": ["queued", "running", "succeeded", "failed"]},
        format=TEXT,
        filter={"type": "object"},
        code=nullable(TEXT),
        error=ERROR,
        rows=COUNT,
        bytes=COUNT,
        **JOB_TIMES,
    ),
    "Product": record(
        sku=TEXT,
        name=TEXT,
        category=TEXT,
        supplier=TEXT,
        price=TEXT,
        currency=TEXT,
        updated_at=TIME,
        stock={"type": "object", "additionalProperties": {"type": "integer"}},
    ),
    "Subscription": record(
        id=UUID_TEXT,
        owner=TEXT,
        url=TEXT,
        events={"type": "array", "items": {"type": "string", "enum": list(EVENTS)}},
        state={"type": "string", "enum": ["active", "disabled"]},
        disabled_reason=nullable(TEXT),
        created_at=TIME,
    ),
    "Token": record(id=UUID_TEXT, name=TEXT, scopes={"type": "array", "items": TEXT}),
    "Problem": record(
        type=TEXT,
        title=TEXT,
        status={"type": "integer"},
        detail=TEXT,
        code={"type": "string", "enum": sorted(CATALOGUE)},
        request_id=TEXT,
    ),
}


def describe(operation: Operation) -> Schema:
    """One operation."""
    path = re.findall(r"{(\w+)", operation.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in path]
    parameters += [{"name": name, "in": "query", "schema": TEXT} for name in operation.query]
    media = "text/csv" if operation.answer == "File" else "application/json"
    schema = TEXT if operation.answer == "File" else {"$ref": f"#/components/schemas/{operation.answer}"}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    described: Schema = {
        "summary": operation.summary,
        "operationId": f"{operation.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', operation.path).strip('_')}",
        "parameters": parameters,
        "responses": {
            str(operation.status): {"description": "Success", "content": {media: {"schema": schema}}},
            "default": {"description": "A problem; its code says which", "content": problem},
        },
        "security": [{"token": []}] if operation.scope else [],
    }
    if operation.body:
        described["requestBody"] = {
            "required": True,
            "content": {media: {"schema": TEXT if "json" not in media else {}} for media in operation.body},
        }
    return described


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

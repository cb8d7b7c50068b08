"""The shapes of the API's documents, as OpenAPI describes them."""

from typing import Any

from appstack_backend.errors import CATALOGUE
from appstack_backend.http.auth import SCOPES
from appstack_backend.http.subscriptions import EVENTS

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
UUID_TEXT: Schema = {"type": "string", "format": "uuid"}
PRICE: Schema = {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,4})?$"}
CURRENCY: Schema = {"type": "string", "pattern": "^[A-Z]{3}$"}
STOCK: Schema = {
    "type": "object",
    "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 999_999_999_999},
    "description": "Quantities by warehouse; warehouses that are not named stay as they are.",
}


def record(**properties: Schema) -> Schema:
    """An object with these properties, all of them always there."""
    return {"type": "object", "required": list(properties), "properties": properties}


def nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


NEXT_CURSOR = nullable(TEXT) | {
    "description": "Null on the last page. Until then a page may have fewer items than asked for, or none: a search"
    " that finds little for a long time is cut off, and goes on here."
}


def page_of(name: str) -> Schema:
    """A page of a keyset listing."""
    return record(items=list_of({"$ref": f"#/components/schemas/{name}"}), next_cursor=NEXT_CURSOR)


ERROR = nullable(record(code=one_of(*sorted(CATALOGUE)), message=TEXT))
JOB_TIMES = {"created_at": TIME, "started_at": nullable(TIME), "finished_at": nullable(TIME)}
REQUEST_ID = {**TEXT, "description": "Of the request that began it: it finds the log lines of what failed."}
PRODUCT_VALUES = {
    "name": {"type": "string", "minLength": 1, "maxLength": 4_096},
    "category": {"type": "string", "maxLength": 200},
    "supplier": {"type": "string", "maxLength": 300},
    "price": PRICE,
    "currency": CURRENCY,
    "stock": STOCK,
}
FILTER: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {name: {"type": "string", "maxLength": 1_000} for name in ("category", "supplier", "q")},
}
SUBSCRIPTION = {
    "id": UUID_TEXT,
    "owner": TEXT,
    "url": nullable({**TEXT, "description": "null: the caller may only read"}),
    "events": list_of(one_of(*EVENTS)),
    "state": one_of("active", "disabled"),
    "disabled_reason": nullable(TEXT),
    "created_at": TIME,
}
TOKEN = {
    "id": UUID_TEXT,
    "name": TEXT,
    "scopes": list_of(one_of(*SCOPES)),
    "created_at": TIME,
    "revoked_at": nullable(TIME),
}
IMPORT = record(
    id=UUID_TEXT,
    kind=one_of("import"),
    state=one_of("receiving", "queued", "running", "succeeded", "failed", "cancelled"),
    format=one_of("csv", "ndjson"),
    code=nullable(TEXT),
    error=ERROR,
    rows=record(received=COUNT, imported=COUNT, rejected=COUNT),
    chunks=record(total=COUNT, done=COUNT, redelivered=COUNT),
    request_id=REQUEST_ID,
    **JOB_TIMES,
)
EXPORT = record(
    id=UUID_TEXT,
    kind=one_of("export"),
    state=one_of("queued", "running", "succeeded", "failed"),
    format=one_of("csv", "ndjson"),
    filter=FILTER,
    code=nullable(TEXT),
    error=ERROR,
    rows=COUNT,
    bytes=COUNT,
    request_id=REQUEST_ID,
    **JOB_TIMES,
)

SCHEMAS: dict[str, Schema] = {
    "Status": record(status=TEXT),
    "Import": IMPORT,
    "Export": EXPORT,
    "Job": {"anyOf": [{"$ref": "#/components/schemas/Import"}, {"$ref": "#/components/schemas/Export"}]},
    "RowError": record(line=COUNT, code=one_of(*sorted(CATALOGUE)), message=TEXT),
    "Product": record(sku=TEXT, updated_at=TIME, **{**PRODUCT_VALUES, "stock": STOCK}),
    "Name": record(name=TEXT, products=nullable(COUNT)),
    "Subscription": record(**SUBSCRIPTION),
    "NewSubscription": record(**SUBSCRIPTION, secret=TEXT),
    "Delivery": record(
        id=UUID_TEXT,
        event=one_of(*EVENTS),
        state=one_of("pending", "delivered", "dead"),
        attempts=COUNT,
        next_attempt_at=nullable(TIME),
        last_status=nullable({"type": "integer"}),
        last_error=nullable(TEXT),
        created_at=TIME,
        finished_at=nullable(TIME),
    ),
    "Token": record(**TOKEN),
    "NewToken": record(**TOKEN, token=TEXT),
    "Problem": record(
        type=TEXT,
        title=TEXT,
        status={"type": "integer"},
        detail=TEXT,
        code=one_of(*sorted(CATALOGUE)),
        request_id=TEXT,
    ),
    # What is sent.
    "ProductToPut": {
        "type": "object",
        "required": ["name", "price", "currency"],
        "properties": PRODUCT_VALUES,
    },
    "ProductToPatch": {"type": "object", "properties": PRODUCT_VALUES},
    "ExportToOrder": {"type": "object", "properties": {"format": one_of("csv", "ndjson"), "filter": FILTER}},
    "SubscriptionToMake": record(
        url={"type": "string", "format": "uri", "maxLength": 2_000},
        events={**list_of(one_of(*EVENTS)), "minItems": 1},
    ),
    "TokenToMake": record(
        name={"type": "string", "minLength": 1, "maxLength": 100},
        scopes={**list_of(one_of(*SCOPES)), "minItems": 1},
    ),
}
PAGES = ("Job", "RowError", "Product", "Name", "Subscription", "Delivery", "Token")
SCHEMAS |= {f"{name}Page": page_of(name) for name in PAGES}

"""An export is an import: whatever is in the catalogue comes back as it was."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pytest

from tests.backend.kit.processes import FINAL_STATES

if TYPE_CHECKING:
    from tests.backend.kit.processes import Api, Backend

PIECES = (
    *('"', '""', ",", "\n", "\r", "\r\n", "\t", "\\", "\\.", "\\N", "\\n", "'", "\x01", "\x02", "\x1c", "\x85", "\xa0"),
    *("\u2028", "\ufeff", "NULL", "null", "a", "Größe", "日本", "🎁", "e\u0301", "{}", "[1]", "=1+1", ";", "x" * 50),
)
TYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson"}


def text(draw: random.Random, most: int) -> str:
    return "".join(draw.choices(PIECES, k=draw.randrange(most)))


def product(draw: random.Random) -> dict[str, Any]:
    warehouses = [text(draw, 3)[:90] for _ in range(draw.choice((0, 0, 1, 3)))]
    return {
        "name": "n" + text(draw, 12),
        "category": text(draw, 4)[:200],
        "supplier": text(draw, 4)[:200],
        "price": draw.choice(("0", "1.50", "007.1000", "999999999999.9999")),
        "currency": "EUR",
        "stock": {warehouse.strip(): draw.choice((0, 7, 999_999_999_999)) for warehouse in warehouses},
    }


def items(api: Api) -> list[dict[str, Any]]:
    return [{**item, "updated_at": ""} for item in api.pages("/v1/products", limit=500)]


@pytest.mark.parametrize("file_format", TYPES)
def test_what_was_exported_is_imported_as_it_was(backend: Backend, dsn: str, file_format: str) -> None:
    backend.start_api()
    backend.start_worker()
    api, draw = backend.client(), random.Random(61)
    for number in range(150):
        path = f"/v1/products/{quote(f'{number}{text(draw, 4)}'.strip(), safe='')}"
        assert api.http.put(path, json=product(draw)).is_success
    before = items(api)
    assert sum(not item["stock"] for item in before) > 20, "many have none"
    file = api.export(format=file_format)
    with psycopg.connect(dsn) as conn:
        conn.execute("TRUNCATE products, stock")
    job = api.feed(file.encode(), Content_Type=TYPES[file_format])
    assert job["state"] in FINAL_STATES
    assert api.errors(job["id"]) == {}
    assert items(api) == before
    assert api.export(format=file_format) == file

"""A feed with broken rows: the good ones are in, each bad one is told with its line, code and message."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.kit.stack import Stack

HEADER = b"sku,name,category,supplier,price,currency,quantity,warehouse\n"


def good(number: int) -> bytes:
    return f"BROKEN-{number},Thing {number},things,Supplier,{number}.50,EUR,{number},main\n".encode()


def test_broken_rows_are_told_and_good_rows_are_in(shop: Stack) -> None:
    lines = [
        good(1),  # line 2
        b"BROKEN-A,Bad price,things,Supplier,twelve,EUR,1,main\n",
        good(2),
        b"BROKEN-B,Too few columns,things\n",  # line 5
        b"BROKEN-C,Bad \xff\xfe bytes,things,Supplier,1.00,EUR,1,main\n",
        b"BROKEN-D,Bad quantity,things,Supplier,1.00,EUR,many,main\n",
        b"BROKEN-E," + b"x" * 2_000_000 + b",things,Supplier,1.00,EUR,1,main\n",
        good(3),  # line 9
    ]
    with shop.api() as api:
        job = api.wait_for_job(api.post_feed(HEADER + b"".join(lines))["id"])
        errors = api.errors(job["id"])
        products = {product["sku"]: product for product in api.products(supplier="Supplier")}
    assert job["state"] == "succeeded"
    assert (job["rows"]["imported"], job["rows"]["rejected"]) == (3, 5)
    assert {error["line"]: error["code"] for error in errors} == {
        3: "IMPORT_NUMBER_INVALID",
        5: "IMPORT_COLUMN_MISSING",
        6: "IMPORT_ENCODING_INVALID",
        7: "IMPORT_NUMBER_INVALID",
        8: "IMPORT_LINE_TOO_LONG",
    }
    assert all(error["message"] for error in errors)
    seen = {sku: (product["name"], product["price"], product["stock"]) for sku, product in products.items()}
    for number in (1, 2, 3):
        assert seen[f"BROKEN-{number}"] == (f"Thing {number}", f"{number}.50", {"main": number})
    assert not seen.keys() & {f"BROKEN-{letter}" for letter in "ABCDE"}


def test_a_truncated_gzip_keeps_its_complete_rows(shop: Stack) -> None:
    whole = HEADER + b"".join(good(number) for number in range(1000, 6000))
    packed = gzip.compress(whole)
    with shop.api() as api:
        job = api.post_feed(packed[: len(packed) // 2], **{"Content-Encoding": "gzip"})
        job = api.wait_for_job(job["id"])
        kept = job["rows"]["imported"]
        skus = {product["sku"] for product in api.products(supplier="Supplier")}
    assert job["state"] == "failed"
    assert job["error"]["code"] == "IMPORT_TRUNCATED"
    assert 0 < kept < 5000
    numbers = {int(sku.removeprefix("BROKEN-")) for sku in skus}
    assert {number for number in numbers if number >= 1000} == set(range(1000, 1000 + kept))

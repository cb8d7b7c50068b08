"""Imports end to end: what goes in over HTTP is in the catalogue, and every bad row is told."""

from __future__ import annotations

import csv
import gzip
import json
import socket
import threading
import zlib
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.backend.kit import feeds
from tests.backend.kit.processes import ADMIN_TOKEN, wait_until

if TYPE_CHECKING:
    from tests.backend.kit.processes import Api, Backend


@pytest.fixture
def api(backend: Backend) -> Api:
    """An API with one worker behind it."""
    backend.start_api()
    backend.start_worker()
    return backend.client()


def test_a_feed_comes_out_as_it_went_in(api: Api) -> None:
    feed = feeds.rows(4_000, seed=1, keys=3_000)
    job = api.feed(feeds.as_csv(feed))
    assert job["state"] == "succeeded"
    assert job["rows"] == {"received": 4_000, "imported": 4_000, "rejected": 0}
    assert feeds.exported(api.export()) == feeds.catalogue(feed)
    pages = api.pages("/v1/products", limit=500)
    assert [product["sku"] for product in pages] == sorted({row[0] for row in feed})


def test_ndjson_and_gzip_are_taken_and_given(api: Api) -> None:
    feed = feeds.rows(700, seed=2)
    names = feeds.HEADER.strip().split(",")
    lines = [json.dumps(dict(zip(names, row, strict=True)) | {"quantity": int(row[6])}) for row in feed]
    body = gzip.compress("\n".join(lines).encode())
    job = api.feed(body, Content_Type="application/x-ndjson", Content_Encoding="gzip")
    assert (job["state"], job["rows"]["imported"]) == ("succeeded", 700)
    back = [json.loads(line) for line in api.export(format="ndjson").splitlines()]
    assert sorted(tuple(str(row[name]) for name in names) for row in back) == feeds.catalogue(feed)


def test_the_last_line_of_a_key_wins_across_chunks_workers_and_imports(backend: Backend, api: Api) -> None:
    backend.start_worker()
    feed = feeds.rows(6_000, seed=3, keys=40)  # every chunk of 500 writes every key
    api.feed(feeds.as_csv(feed))
    assert feeds.exported(api.export()) == feeds.catalogue(feed)
    newer = [(row[0], "newer", *row[2:]) for row in feed]
    api.feed(feeds.as_csv(newer))
    assert feeds.exported(api.export()) == feeds.catalogue(newer)


def test_bad_rows_are_told_and_good_rows_are_in(api: Api) -> None:
    lines = [
        b"OK-1,Thing,c,s,1.50,EUR,3,main",  # line 2
        b"B-1,Bad price,c,s,twelve,EUR,3,main",
        b"B-2,Too few columns,c",
        b"B-3,Bad \xff bytes,c,s,1.50,EUR,3,main",  # line 5
        b"B-4,Bad quantity,c,s,1.50,EUR,-1,main",
        b"B-5," + b"x" * 300_000 + b",c,s,1.50,EUR,3,main",
        b'OK-2,"Two\nlines",c,s,1.50,EUR,3,',  # lines 8 and 9
        b"B-6,Bad currency,c,s,1.50,euro,3,main",  # line 10
        b"B-7,Too many,c,s,1.50,EUR,3,main,more",
        b'B-8,"Open quote,c,s,1.50,EUR,3,main',
        b"",
        b"OK-3,Last,c,s,1.50,EUR,3,main",  # line 14, without a line end
    ]
    job = api.feed(feeds.HEADER.encode() + b"\n".join(lines))
    assert job["state"] == "succeeded"
    assert job["rows"] == {"received": 11, "imported": 3, "rejected": 8}
    assert api.errors(job["id"]) == {
        3: "IMPORT_NUMBER_INVALID",
        4: "IMPORT_COLUMN_MISSING",
        5: "IMPORT_ENCODING_INVALID",
        6: "IMPORT_NUMBER_INVALID",
        7: "IMPORT_LINE_TOO_LONG",
        10: "IMPORT_ROW_INVALID",
        11: "IMPORT_ROW_MALFORMED",
        12: "IMPORT_ROW_MALFORMED",
    }
    products = {product["sku"]: product for product in api.pages("/v1/products")}
    assert sorted(products) == ["OK-1", "OK-2", "OK-3"]
    assert products["OK-2"]["name"] == "Two\nlines"
    assert products["OK-2"]["stock"] == {"main": 3}


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_truncated_gzip_keeps_the_complete_rows_before_its_end(api: Api, cut: float) -> None:
    feed = feeds.rows(3_000, seed=4)
    whole = gzip.compress(feeds.as_csv(feed))
    part = whole[: int(len(whole) * cut)]
    complete = zlib.decompressobj(31).decompress(part).rpartition(b"\n")[0]
    job = api.feed(part, Content_Encoding="gzip")
    assert (job["state"], job["code"]) == ("failed", "IMPORT_TRUNCATED")
    kept = feeds.exported(api.export())
    assert kept == feeds.catalogue(feed[: len(kept)])
    # A record may have two lines, so the last of the complete lines may be half a record.
    assert len(kept) == job["rows"]["imported"] == job["rows"]["received"] > complete.count(b"\n") * 0.8


def test_damaged_gzip_and_a_wrong_header_fail_with_their_codes(api: Api) -> None:
    whole = gzip.compress(feeds.as_csv(feeds.rows(3_000, seed=5)))
    damaged = whole[:20_000] + b"\xff\x00" * 50 + whole[20_100:]
    job = api.feed(damaged, Content_Encoding="gzip")
    assert (job["state"], job["code"]) == ("failed", "IMPORT_COMPRESSION_INVALID")
    job = api.feed(b"sku;name;price\nA;b;1\n")
    assert (job["state"], job["code"], job["rows"]["received"]) == ("failed", "IMPORT_HEADER_INVALID", 0)
    assert "lacks" in job["error"]["message"]
    assert api.feed(b"")["code"] == "IMPORT_HEADER_INVALID"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_sender_that_hangs_up_leaves_a_truncated_import(backend: Backend, api: Api, framing: str) -> None:
    body = feeds.as_csv([(f"S{n}", "n", "c", "s", "1.00", "EUR", "1", "main") for n in range(1_200)])
    sent = body[: body.index(b"S1100")] + b"S1100,half a li"
    head = (
        f"POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nContent-Type: text/csv\r\n"
        "Idempotency-Key: cut\r\n"
    )
    with socket.create_connection(("127.0.0.1", backend.api_port)) as connection:
        if framing == "length":
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + sent)
        else:
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n{len(sent):x}\r\n".encode() + sent)
        wait_until(lambda: api.pages("/v1/jobs"), "the upload has begun")
    job = api.ended(api.pages("/v1/jobs")[0]["id"])
    assert (job["state"], job["code"]) == ("failed", "IMPORT_TRUNCATED")
    assert job["rows"] == {"received": 1_100, "imported": 1_100, "rejected": 0}

    # The same key with the whole body goes on where the first attempt ended.
    resumed = api.feed(body, Idempotency_Key="cut")
    assert resumed["id"] == job["id"]
    assert (resumed["state"], resumed["code"]) == ("succeeded", None)
    assert resumed["rows"] == {"received": 1_200, "imported": 1_200, "rejected": 0}
    assert len(api.pages("/v1/products", limit=500)) == 1_200


def test_an_upload_that_goes_on_keeps_as_many_rejected_rows_as_one_in_one_go(backend: Backend) -> None:
    backend.start_api(IMPORT_MAX_STORED_ERRORS="60")
    backend.start_worker()
    api = backend.client()
    rows = [f"S{n},n,c,s,{'x' if n % 10 == 0 else 1},EUR,1,main\n".encode() for n in range(1_500)]
    head = (
        f"POST /v1/imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nContent-Type: text/csv\r\n"
        f"Idempotency-Key: cut\r\nContent-Length: {1 << 20}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", backend.api_port)) as connection:
        connection.sendall(head.encode() + feeds.HEADER.encode() + b"".join(rows[:700]))
        wait_until(lambda: api.pages("/v1/jobs"), "the upload has begun")
    cut = api.ended(api.pages("/v1/jobs")[0]["id"])
    assert (cut["state"], cut["rows"]["rejected"], len(api.errors(cut["id"]))) == ("failed", 70, 60)
    body = feeds.HEADER.encode() + b"".join(rows)
    resumed, whole = api.feed(body, Idempotency_Key="cut"), api.feed(body)
    assert resumed["id"] == cut["id"]
    assert resumed["rows"] == whole["rows"] == {"received": 1_500, "imported": 1_350, "rejected": 150}
    assert api.errors(resumed["id"]) == api.errors(whole["id"])
    assert len(api.errors(whole["id"])) == 60


def test_an_idempotency_key_stands_for_one_body(api: Api) -> None:
    body = feeds.as_csv(feeds.rows(10, seed=6))
    first = api.post(body, Idempotency_Key="k").json()
    again = api.post(body, Idempotency_Key="k")
    other = api.post(body + b"X,more,c,s,1,EUR,1,main\n", Idempotency_Key="k")
    assert again.json()["id"] == first["id"]
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert other.headers["Content-Type"] == "application/problem+json"
    assert api.ended(first["id"])["rows"]["received"] == 10
    assert len(api.pages("/v1/jobs")) == 1


def test_a_cancelled_import_applies_no_more(backend: Backend) -> None:
    backend.start_api()
    api = backend.client()
    job = api.post(feeds.as_csv(feeds.rows(1_000, seed=7))).json()
    assert api.http.delete(f"/v1/imports/{job['id']}").json()["state"] == "cancelled"
    backend.start_worker()
    wait_until(lambda: api.job(job["id"])["chunks"]["done"] == 2, "the chunks were passed over")
    assert api.job(job["id"])["rows"]["imported"] == 0
    assert api.pages("/v1/products") == []
    done = api.feed(feeds.as_csv(feeds.rows(3, seed=8)))
    refused = api.http.delete(f"/v1/imports/{done['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "IMPORT_FINISHED")


def test_an_export_is_one_consistent_snapshot(backend: Backend, dsn: str) -> None:
    """Somebody changes all prices at once, again and again: no file has two of them."""
    backend.start_api()
    backend.start_worker()
    api = backend.client()
    api.feed(feeds.as_csv(feeds.rows(20_000, seed=37)))
    stop, changes = threading.Event(), [0]

    def change() -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            while not stop.is_set():
                changes[0] += 1
                conn.execute("UPDATE products SET price = %s", (changes[0],))

    def exported_prices() -> set[str]:
        return {row["price"] for row in csv.DictReader(api.export().splitlines())}

    changer = threading.Thread(target=change)
    changer.start()
    try:
        wait_until(lambda: changes[0] > 1, "all prices are the same")
        seen: list[set[str]] = []
        wait_until(lambda: seen.append(exported_prices()) or len(set.union(*seen)) > 2, "files of three moments")  # type: ignore[func-returns-value]
    finally:
        stop.set()
        changer.join()
    assert {len(prices) for prices in seen} == {1}

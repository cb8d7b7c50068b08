"""Rows per second: imports end to end against a bare staged upsert and COPY; exports against COPY TO STDOUT."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import psycopg

from appstack_backend.feeds.csv_feed import CsvFeed
from appstack_backend.repository import catalogue, exports
from bench.measure import Figure, peak_mebibytes
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from bench.site import Site
    from tests.backend.kit.processes import Api, Backend

ROWS, CHUNK, REPETITIONS = 100_000, 2_000, 7
RATE = "rows/s"
COPY_PRODUCTS = "COPY products (sku, name, category, supplier, price, currency, source_job, source_line) FROM STDIN"

LONG_PRODUCTS = """
    INSERT INTO products (sku, name, category, supplier, price, currency, source_job, source_line)
    SELECT 'SKU' || lpad(n::text, 9, '0'), rpad('Thing ' || n || ' ', 460, 'x'),
        'category', 'supplier', 1.50, 'EUR', 1, n
    FROM generate_series(1, %s) n"""


def feed(rows: int, price: int, keys: int = 0, name_bytes: int = 0) -> Iterator[bytes]:
    """A CSV of plain rows, in pieces of a thousand; about 100 bytes a row, or more by a longer name."""
    yield b"sku,name,category,supplier,price,currency,quantity,warehouse\n"
    more = "x" * max(0, name_bytes - 40)
    for first in range(0, rows, 1_000):
        yield "".join(
            f"SKU{number * 7_919 % (keys or rows):09d},Thing number {number} of many with a name{more},"
            f"category {number % 20},Supplier {number % 50},{number % 1000}.{price:02d},EUR,{number % 100},main\n"
            for number in range(first, first + 1_000)
        ).encode()


def imports(site: Site) -> list[Figure]:
    """New rows and the same rows again with other prices, by one worker and by two."""
    upsert, copy = "a bare staged upsert, one connection", "COPY into the same indexed table"
    figures = {
        (workers, kind): Figure(f"import of {kind} rows, {workers} worker{'s' * (workers > 1)}", RATE, upsert, aim=0.8)
        for workers in (1, 2)
        for kind in ("new", "known")
    }
    against_copy = Figure("import of new rows, 1 worker", RATE, copy)
    for _ in range(REPETITIONS):
        bare = bare_upserts(site.database())
        against_copy.baseline_runs.append(bare_copy(site.database()))
        for workers in (1, 2):
            with site.backend(site.database(), IMPORT_CHUNK_ROWS=str(CHUNK)) as backend:
                backend.start_api()
                for _ in range(workers):
                    backend.start_worker()
                for price, kind in enumerate(("new", "known")):
                    figures[workers, kind].runs.append(timed_import(backend.client(), price))
                    figures[workers, kind].baseline_runs.append(bare[kind])
        against_copy.runs.append(figures[1, "new"].runs[-1])
    return [*figures.values(), against_copy]


def timed_import(api: Api, price: int) -> float:
    """Rows per second from the first byte sent to the last row visible."""
    began = time.monotonic()
    job = api.feed(feed(ROWS, price))
    assert job["rows"]["imported"] == ROWS, job
    return ROWS / (time.monotonic() - began)


def copy_lines(price: int) -> list[str]:
    reader = CsvFeed(1 << 16)
    rows = [row for piece in feed(ROWS, price) for _, row in reader.feed(piece)]
    return [row for row in rows if isinstance(row, str)]


def bare_upserts(dsn: str) -> dict[str, float]:
    """The same statements on the same chunks, from text that is parsed already: what the database alone takes."""

    async def run() -> dict[str, float]:
        rates = {}
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            for price, kind in enumerate(("new", "known")):
                lines = copy_lines(price)
                chunks = ["".join(lines[at : at + CHUNK]).encode() for at in range(0, ROWS, CHUNK)]
                began = time.monotonic()
                for chunk in chunks:
                    await catalogue.apply_rows(conn, chunk, price + 1)
                    await conn.commit()
                rates[kind] = ROWS / (time.monotonic() - began)
        return rates

    return asyncio.run(run())


def bare_copy(dsn: str) -> float:
    """PostgreSQL's own way into the same table with the same indexes: no conflicts, no stock, one transaction."""
    fields = [line.rstrip("\n").split("\t") for line in copy_lines(0)]
    lines = "".join("\t".join([*f[1:7], "1", f[0]]) + "\n" for f in fields).encode()
    with psycopg.connect(dsn) as conn:
        began = time.monotonic()
        with conn.cursor().copy(COPY_PRODUCTS) as copy:
            copy.write(lines)
        conn.commit()
        return ROWS / (time.monotonic() - began)


def export(site: Site) -> list[Figure]:
    """From the order to the last byte read, against COPY of the same query; nobody keeps or decodes the bytes."""
    dsn, figures = site.database(ROWS), []
    with site.backend(dsn) as backend:
        backend.start_api()
        backend.start_worker()
        http = backend.client().http
        for file_format, name in (("csv", "CSV"), ("ndjson", "NDJSON")):
            figure = Figure(f"export as {name}", RATE, "COPY TO STDOUT of the same rows", aim=0.6)
            for number in range(REPETITIONS + 3):
                ours, size = timed_export(http, file_format)
                bare, bare_size = timed_copy_out(dsn, file_format)
                assert size == bare_size
                if number:
                    figure.runs.append(ours)
                    figure.baseline_runs.append(bare)
            figures.append(figure)
    return figures


def timed_export(http: httpx.Client, file_format: str) -> tuple[float, int]:
    """Rows per second, and the bytes of the file."""
    began = time.monotonic()
    location = http.post("/v1/exports", json={"format": file_format}).headers["Location"]
    wait_until(lambda: http.get(location).json()["state"] == "succeeded", "the export succeeds")
    with http.stream("GET", f"{location}/content") as answer:
        size = sum(len(piece) for piece in answer.iter_bytes())
    return ROWS / (time.monotonic() - began), size


def timed_copy_out(dsn: str, file_format: str) -> tuple[float, int]:
    """The same of PostgreSQL alone, connecting included."""
    query = exports.copy_out(file_format, {})
    began = time.monotonic()
    with psycopg.connect(dsn) as conn, conn.cursor().copy(query) as copy:
        size = sum(len(piece) for piece in copy)
    return ROWS / (time.monotonic() - began), size


def memory(site: Site) -> list[Figure]:
    """The peak of API and worker while the file grows: flat. BENCH_MEGABYTES=10,300,2000 says how large."""
    sizes = [int(size) for size in os.environ.get("BENCH_MEGABYTES", "10,300").split(",")]
    figures = []
    peaks = {size: peaks_of(site, size) for size in sizes}
    for role in ("API", "worker"):
        for size in sizes[1:]:
            figure = Figure(f"peak memory of the {role}, {size} MB imported", "MiB", f"{sizes[0]} MB imported")
            figure.runs, figure.baseline_runs = [peaks[size][role]], [peaks[sizes[0]][role]]
            figures.append(figure)
    return figures


def export_memory(site: Site) -> list[Figure]:
    """The peak of API and worker while the exported file grows: flat. BENCH_EXPORT_MEGABYTES=10,300 says how large."""
    sizes = [int(size) for size in os.environ.get("BENCH_EXPORT_MEGABYTES", "10,300").split(",")]
    peaks = {size: export_peaks(site, size) for size in sizes}
    return [
        Figure(
            *(f"peak memory of the {role}, {size} MB exported", "MiB", f"{sizes[0]} MB exported"),
            runs=[peaks[size][role]],
            baseline_runs=[peaks[sizes[0]][role]],
        )
        for role in ("API", "worker")
        for size in sizes[1:]
    ]


def export_peaks(site: Site, megabytes: int) -> dict[str, float]:
    """Rows of half a kilobyte, as for the imports; the client keeps nothing of the file."""
    dsn = site.database()
    with psycopg.connect(dsn) as conn:
        conn.execute(LONG_PRODUCTS, (megabytes * 2_000,))
    with site.backend(dsn) as backend:
        api, worker = backend.start_api(), backend.start_worker()
        http = backend.client().http
        location = http.post("/v1/exports", json={"format": "csv"}).headers["Location"]
        while http.get(location).json()["state"] not in ("succeeded", "failed"):
            time.sleep(0.2)
        with http.stream("GET", f"{location}/content") as answer:
            size = sum(len(piece) for piece in answer.iter_bytes())
        assert size > megabytes * 990_000, size
        return {"API": peak_mebibytes(api.popen.pid), "worker": peak_mebibytes(worker.popen.pid)}


def peaks_of(site: Site, megabytes: int) -> dict[str, float]:
    """Rows of half a kilobyte: what is measured is how much passes through."""
    with site.backend(site.database()) as backend:
        api, worker = backend.start_api(), backend.start_worker()
        imported(backend, megabytes * 2_000)
        return {"API": peak_mebibytes(api.popen.pid), "worker": peak_mebibytes(worker.popen.pid)}


def imported(backend: Backend, rows: int) -> None:
    """Each product several times in large files, so that the database need not hold them all."""
    api = backend.client()
    api.http.timeout = 3_600
    job_id = api.post(feed(rows, 0, keys=20_000, name_bytes=440)).json()["id"]
    while api.job(job_id)["state"] not in ("succeeded", "failed"):
        time.sleep(0.5)
    assert api.job(job_id)["rows"]["imported"] == rows

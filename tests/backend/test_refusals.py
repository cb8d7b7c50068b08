"""A search for what PostgreSQL cannot look for fails once, and harms nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from tests.backend.kit.processes import wait_until
from tests.backend.test_api import code

if TYPE_CHECKING:
    from tests.backend.kit.processes import Backend

# As a server that knows a limit which ours does not.
REFUSE = """
    CREATE FUNCTION public.plainto_tsquery(config regconfig, words text) RETURNS tsquery
    IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
        IF words = 'long' THEN
            RAISE EXCEPTION 'word is too long in tsquery' USING ERRCODE = 'program_limit_exceeded';
        END IF;
        RETURN pg_catalog.plainto_tsquery(config, words);
    END $$"""
PREFER = """
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database());
    END $$"""


def test_a_search_that_the_server_cannot_do_fails_once(backend: Backend, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(REFUSE)
        conn.execute(PREFER)
    api_process = backend.start_api()
    worker = backend.start_worker("bulk")
    api = backend.client()
    assert code(api.http.get("/v1/products", params={"q": "long"})) == (500, "INTERNAL_ERROR")
    assert api.http.get("/v1/products", params={"q": "lamp"}).json()["items"] == []
    export = api.http.post("/v1/exports", json={"filter": {"q": "long"}}).headers["Location"]
    failed = wait_until(lambda: ended(api.http.get(export).json()), "the export fails")
    assert (failed["state"], failed["code"]) == ("failed", "INTERNAL_ERROR")
    assert [line["reason"] for line in worker.lines() if line["event"] == "a message is hopeless"] == [
        "ProgramLimitExceeded: word is too long in tsquery"
    ]
    told = [line["event"] for process in (api_process, worker) for line in process.lines()]
    assert not {"database work is repeated", "waiting for the database"} & set(told)


def ended(job: dict[str, object]) -> dict[str, object] | None:
    return job if job["state"] in ("succeeded", "failed") else None

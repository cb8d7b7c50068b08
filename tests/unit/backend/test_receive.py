"""Receiving a feed leaves others their turn, and outlives an outage of the database."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from appstack_backend.errors import DatabaseUnavailable, IdempotencyKeyReused, ImportRowInvalid
from appstack_backend.feeds.chunks import Chunk
from appstack_backend.feeds.inflate import PIECE_BYTES
from appstack_backend.imports.receive import Reception, Services, Upload, receive
from appstack_backend.repository import imports as repository
from appstack_backend.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECES = 40


def a_reception(**settings: Any) -> Reception:
    services = Services(None, Settings.model_construct(**settings), lambda: None)  # type: ignore[arg-type]
    upload = Upload("csv", is_gzip=True, owner="me", key=None, request_id="r")
    return Reception(services, upload, {"id": UUID(int=1), "receiver": 1})


def test_a_body_that_inflates_to_nothing_but_blank_lines_leaves_others_their_turn() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> None:
        task = asyncio.create_task(others())
        header = b"sku,name,category,supplier,price,currency,quantity,warehouse\n"
        await a_reception()._take(gzip.compress(header + b"\n" * PIECES * PIECE_BYTES))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(both())
    assert turns >= PIECES


def test_rejected_rows_stored_before_a_cut_count_when_the_upload_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each cut would let as many more be stored."""

    def chunk(number: int) -> Chunk:
        first = 2 + number * 3
        return Chunk(number, first, [f"{first}\n"], [(first + n, ImportRowInvalid("why")) for n in (1, 2)])

    stored: list[list[int]] = []

    async def store_chunk(_: object, values: dict[str, Any]) -> bool:
        stored.append(values["lines"])
        return True

    monkeypatch.setattr(repository, "store_chunk", store_chunk)
    whole, resumed = (a_reception(import_max_stored_errors=3, import_lease_seconds=30.0) for _ in range(2))
    resumed._known = [chunk(0).digest(chunk(0).payload())]

    async def store_all() -> None:
        for reception in (whole, resumed):
            for number in range(3):
                await reception._store_now(chunk(number))

    asyncio.run(store_all())
    assert stored == [[3, 4], [6], [], [6], []]


@pytest.mark.parametrize("sha256", [None, hashlib.sha256(b"").digest()], ids=["cut off", "whole"])
def test_a_key_belongs_to_one_content_type(monkeypatch: pytest.MonkeyPatch, sha256: bytes | None) -> None:
    """Also while nothing of the body was stored that would tell."""

    async def create(*_: object) -> None:
        return None

    async def by_key(*_: object) -> dict[str, Any]:
        return {"id": UUID(int=1), "format": "ndjson", "state": "failed", "receiver": 1, "body_sha256": sha256}

    async def body() -> AsyncIterator[bytes]:
        yield b""

    monkeypatch.setattr(repository, "create", create)
    monkeypatch.setattr(repository, "by_key", by_key)
    monkeypatch.setattr(repository, "take_over", create)
    services = Services(None, Settings.model_construct(import_lease_seconds=30.0), lambda: None)  # type: ignore[arg-type]
    with pytest.raises(IdempotencyKeyReused, match="Content-Type"):
        asyncio.run(receive(services, Upload("csv", is_gzip=False, owner="me", key="k", request_id="r"), body()))


def test_the_lease_is_renewed_again_after_an_outage_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([DatabaseUnavailable(), None])
    renewed = asyncio.Event()

    async def renew(*_: object) -> None:
        if error := next(answers):
            raise error
        renewed.set()

    async def hold() -> None:
        async with a_reception(import_lease_seconds=0.03)._lease_renewed():
            await renewed.wait()

    monkeypatch.setattr(repository, "renew", renew)
    asyncio.run(asyncio.wait_for(hold(), 60))
    assert renewed.is_set()

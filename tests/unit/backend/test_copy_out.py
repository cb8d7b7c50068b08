"""What is told of a server that sends nothing of a copy."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg import sql

from appstack_backend.database import server_is_lost
from appstack_backend.exports.copy_out import CopyOut


async def test_a_silent_copy_alone_does_not_tell_that_its_server_is_lost() -> None:
    """It may look for rows for long: then all other reads would go to the primary for nothing."""
    copy = CopyOut("", sql.Composed([]), 1, silent_seconds=0.01)
    with pytest.raises(psycopg.Error, match=r"nothing for 0\.01 s") as caught:
        await copy._next(asyncio.Queue())
    assert not server_is_lost(caught.value)

"""What tests of the load's clients share."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.chaos.clients.record import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """A client's history in this process, which ends on signals as before."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield Recorder("client", tmp_path / "client.jsonl")
    for number, handler in kept.items():
        signal.signal(number, handler)

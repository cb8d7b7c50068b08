"""How the clients of a run are started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.chaos.load import DIE_WITH_PARENT, begin

if TYPE_CHECKING:
    from pathlib import Path


def test_a_client_has_a_share_of_the_processors_of_its_own(tmp_path: Path) -> None:
    clients = [begin([*DIE_WITH_PARENT, "sh", "-c", "echo began; sleep 60"], tmp_path / f"{n}.log") for n in range(2)]
    try:
        sessions = {os.getsid(client.pid) for client in clients}
        assert sessions == {client.pid for client in clients}
    finally:
        for client in clients:
            client.kill()
            client.wait()

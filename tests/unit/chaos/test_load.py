"""How the clients of a run are started, and that none of them goes unseen."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tests.chaos.load import DIE_WITH_PARENT, Load, begin

if TYPE_CHECKING:
    from tests.chaos.site import Site


def test_a_client_has_a_share_of_the_processors_of_its_own(tmp_path: Path) -> None:
    clients = [begin([*DIE_WITH_PARENT, "sh", "-c", "echo began; sleep 60"], tmp_path / f"{n}.log") for n in range(2)]
    try:
        sessions = {os.getsid(client.pid) for client in clients}
        assert sessions == {client.pid for client in clients}
    finally:
        for client in clients:
            client.kill()
            client.wait()


def test_a_client_that_ends_by_itself_is_told() -> None:
    load = Load(cast("Site", None), Path())
    load.running = {"sql-held": subprocess.Popen(["sleep", "60"]), "api-import": subprocess.Popen(["false"])}
    load.running["api-import"].wait()
    try:
        assert load.gone() == ["api-import"]
    finally:
        load.stop(load.running)

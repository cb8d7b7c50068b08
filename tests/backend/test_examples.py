"""The examples of docs/api.md: each block is run as it stands there, in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_backend.webhooks.sign import headers, new_secret
from appstack_lab.packages import ensure_packages
from tests.backend.kit.processes import ADMIN_TOKEN

if TYPE_CHECKING:
    from tests.backend.kit.processes import Backend

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
COMMANDS = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}


def blocks() -> list[tuple[str, str]]:
    """Language and text of every example."""
    return re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_every_example_runs(backend: Backend, tmp_path: Path) -> None:
    ensure_packages({"curl": "curl"})  # a bare Debian has none
    backend.start_api()
    backend.start_worker()
    environment = {**os.environ, "API": f"http://127.0.0.1:{backend.api_port}", "TOKEN": ADMIN_TOKEN}
    printed = []
    for language, text in blocks():
        done = subprocess.run(
            [*COMMANDS[language], text], env=environment, cwd=tmp_path, text=True, capture_output=True, timeout=120
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    assert len(printed) == 7
    assert backend.client().http.get("/v1/products/A-1").json()["price"] == "12.50", "the Python example imports again"
    assert "'imported': 1" in printed[4] and "['A-1']" in printed[4] and '"sku":"A-1"' in printed[4]


def test_the_receivers_example_verifies_what_is_sent() -> None:
    names: dict[str, object] = {}
    exec(blocks()[-1][1], names)
    is_genuine = names["is_genuine"]
    assert callable(is_genuine)
    secret = new_secret()

    def sent_at(moment: float) -> dict[str, str]:
        return {str(name): str(value) for name, value in headers(secret, "id", int(moment), "{}").items()}

    sent = sent_at(time.time())
    assert is_genuine(secret, sent, b"{}")
    assert not is_genuine(secret, sent_at(time.time() - 900), b"{}"), "somebody sends again what he overheard"
    assert not is_genuine(secret, sent, b"{ }")
    assert not is_genuine(new_secret(), sent, b"{}")

"""The description of the API, and the API by its description."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.backend.kit import feeds
from tests.backend.kit.processes import ADMIN_TOKEN

if TYPE_CHECKING:
    from tests.backend.kit.processes import Backend

SCHEMATHESIS = str(Path(sys.executable).parent / "st")
# Not checked: a text that the description allows may still be refused (a cursor that we never gave out, a SKU with
# an If-Match of another version, a webhook to a private address).
LEFT_OUT = "positive_data_acceptance"


@pytest.mark.timeout(900)
def test_schemathesis_finds_no_fault(backend: Backend, tmp_path: Path) -> None:
    backend.start_api()
    backend.start_worker()
    api = backend.client()
    api.feed(feeds.as_csv(feeds.rows(50, seed=81)))
    command = [
        *(SCHEMATHESIS, "run", f"{api.http.base_url}/openapi.json", "--header", f"Authorization: Bearer {ADMIN_TOKEN}"),
        *("--checks", "all", "--exclude-checks", LEFT_OUT, "--phases", "examples,coverage,fuzzing,stateful"),
        *("--max-examples", "8", "--seed", "1", "--generation-database", "none", "--no-color"),
        *("--suppress-health-check", "all", "--request-timeout", "60", "--max-failures", "20"),
    ]
    done = subprocess.run(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-12_000:]


def test_the_page_needs_nothing_from_elsewhere(backend: Backend) -> None:
    backend.start_api()
    page = backend.client().http.get("/docs").text
    assert "<script" not in page and "http://" not in page and "https://" not in page
    assert "/v1/subscriptions" in page and "RATE_LIMITED" in page

"""The short set of faults borrows the fixtures of the cluster tests by name: all of them have to be there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_short_set_finds_every_fixture_that_it_needs() -> None:
    command = [sys.executable, "-m", "pytest", "--setup-plan", "-q", "-p", "no:cacheprovider", "tests/chaos"]
    planned = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert planned.returncode == 0, planned.stdout[-3000:]
    assert "SETUP    S kube" in planned.stdout

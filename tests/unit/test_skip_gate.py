"""A skipped test fails the whole run unless it is listed with its reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = "import pytest\n\n@pytest.mark.skip\ndef test_left_out():\n    pass\n\ndef test_kept():\n    pass\n"


def run_with(allowed: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "allowed_skips.toml").write_text(allowed)
    (tmp_path / "test_it.py").write_text(SKIPPED)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_an_unlisted_skip_fails_the_run_and_is_named(tmp_path: Path) -> None:
    done = run_with("", tmp_path)
    assert done.returncode == 1
    assert "NOT ALLOWED to be skipped" in done.stdout
    assert "test_it.py::test_left_out" in done.stdout


def test_a_listed_skip_is_allowed(tmp_path: Path) -> None:
    done = run_with('"test_it.py::test_left_out" = "an example of a reason"', tmp_path)
    assert done.returncode == 0

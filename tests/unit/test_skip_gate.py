"""A skipped test fails the whole run unless it is listed with its reason."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXCUSES = {
    "skipped": "@pytest.mark.skip\ndef test_left_out():\n    pass\n",
    "failing as expected": "@pytest.mark.xfail\ndef test_left_out():\n    assert False\n",
    "passing against expectation": "@pytest.mark.xfail\ndef test_left_out():\n    pass\n",
}


def run_with(excuse: str, allowed: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "allowed_skips.toml").write_text(allowed)
    (tmp_path / "test_it.py").write_text(f"import pytest\n\n{EXCUSES[excuse]}\ndef test_kept():\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)


@pytest.mark.parametrize("excuse", EXCUSES)
def test_an_unlisted_excuse_fails_the_run_and_is_named(excuse: str, tmp_path: Path) -> None:
    done = run_with(excuse, "", tmp_path)
    assert done.returncode == 1
    assert "NOT ALLOWED to be skipped" in done.stdout
    assert "test_it.py::test_left_out" in done.stdout


def test_a_listed_skip_is_allowed(tmp_path: Path) -> None:
    done = run_with("skipped", '"test_it.py::test_left_out" = "an example of a reason"', tmp_path)
    assert done.returncode == 0

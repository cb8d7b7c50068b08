"""A skipped test fails the whole run unless it is listed with its reason."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXCUSES = {
    "skipped": "@pytest.mark.skip\ndef test_left_out():\n    pass\n",
    "failing as expected": "@pytest.mark.xfail\ndef test_left_out():\n    assert False\n",
    "passing against expectation": "@pytest.mark.xfail\ndef test_left_out():\n    pass\n",
    "long": "@pytest.mark.long\ndef test_left_out():\n    pass\n",
}
PLAIN = {"plain": "@pytest.mark.slow\ndef test_left_out():\n    pass\n"}
TAKES_IT_AWAY = """

def pytest_collection_modifyitems(items):
    items[:] = [item for item in items if item.name != "test_left_out"]
"""


def run_with(
    excuse: str, allowed: str, tmp_path: Path, *words: str, hook: str = ""
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text() + hook)
    (tmp_path / "allowed_skips.toml").write_text(allowed)
    (tmp_path / "test_it.py").write_text(f"import pytest\n\n{(EXCUSES | PLAIN)[excuse]}\ndef test_kept():\n    pass\n")
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = -m 'not long'\nmarkers =\n  long: takes long\n  slow: an example\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)


@pytest.mark.parametrize("excuse", EXCUSES)
def test_an_unlisted_excuse_fails_the_run_and_is_named(excuse: str, tmp_path: Path) -> None:
    done = run_with(excuse, "", tmp_path)
    assert done.returncode == 1
    assert "NOT ALLOWED to be skipped" in done.stdout
    assert "test_it.py::test_left_out" in done.stdout


@pytest.mark.parametrize("excuse", ["skipped", "long"])
def test_where_processes_share_the_tests_it_is_named_once(excuse: str, tmp_path: Path) -> None:
    done = run_with(excuse, "", tmp_path, "-n", "2")
    assert done.returncode == 1
    assert done.stdout.count("NOT ALLOWED to be skipped") == 1


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_test_that_a_hook_takes_away_fails_the_run_and_is_named(processes: str, tmp_path: Path) -> None:
    done = run_with("plain", "", tmp_path, "-n", processes, hook=TAKES_IT_AWAY)
    assert done.returncode == 1
    assert (
        "NOT ALLOWED to be skipped (list it with a reason in allowed_skips.toml): test_it.py::test_left_out"
        in done.stdout
    )


@pytest.mark.parametrize(
    "choice", [("-k", "kept"), ("-m", "not long and not slow"), ("--deselect", "test_it.py::test_left_out")]
)
def test_whoever_runs_the_tests_may_choose_among_them(choice: tuple[str, str], tmp_path: Path) -> None:
    done = run_with("plain", "", tmp_path, *choice)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 deselected" in done.stdout


def test_a_listed_skip_is_allowed(tmp_path: Path) -> None:
    done = run_with("skipped", '"test_it.py::test_left_out" = "an example of a reason"', tmp_path)
    assert done.returncode == 0


def test_a_listed_long_test_is_left_out_and_told_with_its_reason(tmp_path: Path) -> None:
    done = run_with("long", '[long]\n"test_it.py" = "an example of a reason"', tmp_path, "-n", "2")
    assert done.returncode == 0
    assert "left to `make test-long`: 1 of test_it.py: an example of a reason" in done.stdout


def test_the_list_of_long_tests_is_complete_and_make_runs_them_all() -> None:
    listed = set(tomllib.loads((ROOT / "tests" / "allowed_skips.toml").read_text())["long"])
    marked = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "tests").rglob("test_*.py")
        if "pytest.mark.long" in file.read_text() and file != Path(__file__).resolve()
    }
    assert listed == marked
    recipe = (ROOT / "Makefile").read_text().partition("\ntest-long:")[2].partition("\n\n")[0]
    run = [Path(word.removeprefix('TESTS="').rstrip('"')) for word in recipe.split() if "tests/" in word]
    assert [file for file in sorted(marked) if not any(Path(file).is_relative_to(each) for each in run)] == []


def test_what_a_test_measures_is_shown_though_it_passes(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "allowed_skips.toml").write_text("")
    (tmp_path / "test_it.py").write_text('def test_it(record_property):\n    record_property("measured", "0.2 s")\n')
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "measured by test_it.py::test_it: 0.2 s" in done.stdout

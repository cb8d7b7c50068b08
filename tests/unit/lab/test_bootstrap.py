"""Making the Python environment: a quick no-op when it is current, and a failure that tells the way out."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appstack_lab.locks import locked

ROOT = Path(__file__).resolve().parents[3]
LOG = "pathlib.Path(sys.argv[1])"


def ask(tree: Path, expression: str) -> str:
    """Ask a tree's bootstrap something."""
    code = f"import sys, bootstrap; from pathlib import Path; sys.stdout.write(str(bootstrap.{expression}))"
    return subprocess.check_output([sys.executable, "-c", code], cwd=tree / "lab", text=True)


def fingerprint(tree: Path, venv: Path) -> str:
    return ask(tree, f"inputs_fingerprint(Path({str(venv)!r}))")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what makes this tree's environment."""
    tree = tmp_path / "copy"
    shutil.copytree(ROOT / "lab", tree / "lab", ignore=shutil.ignore_patterns("go", "__pycache__"))
    for name in ("requirements-dev.lock", "operator/pyproject.toml", "backend/pyproject.toml"):
        (tree / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    return tree


def bootstrap(venv: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "lab" / "bootstrap.py"), str(venv)]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=240)


def test_a_package_index_out_of_reach_is_told_with_log_and_cause(tmp_path: Path) -> None:
    done = bootstrap(tmp_path / "venv", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert done.returncode == 1
    assert "pip install" in done.stderr
    assert "bootstrap.log" in done.stderr
    assert "Probable cause: the package index is out of reach" in done.stderr


def test_another_cause_is_told_where_the_log_shows_it(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("ERROR: Could not install packages due to an OSError: No space left on device\n")
    code = f"import sys, pathlib, bootstrap; sys.path.insert(0, 'src'); bootstrap.fail_with_log([], {LOG})"
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT / "lab", timeout=240)
    assert "Probable cause: the disk is full" in done.stderr


def test_a_current_environment_is_left_alone_at_once(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / ".stamp").write_text(fingerprint(ROOT, venv))
    done = bootstrap(venv)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_copied_tree_makes_its_environment_anew(copy: Path) -> None:
    venv = ROOT / ".venv"
    assert fingerprint(copy, venv) != fingerprint(ROOT, venv)
    assert fingerprint(copy, copy / ".venv") != fingerprint(copy, venv)


def test_a_new_build_of_the_same_python_is_no_reason_to_make_it_anew(tmp_path: Path) -> None:
    update = f"{platform.python_version()} (main, Jan  1 2020, 00:00:00) [GCC 1.0.0]"
    asked = f"sys.__setattr__('version', {update!r}) or bootstrap.inputs_fingerprint(Path({str(tmp_path)!r}))"
    assert ask(ROOT, asked) == fingerprint(ROOT, tmp_path)


def test_an_environment_copied_with_its_tree_is_not_built_on(tmp_path: Path) -> None:
    made, moved = tmp_path / "made", tmp_path / "moved"
    subprocess.run([sys.executable, "-m", "venv", str(made)], check=True)
    made.rename(moved)
    assert ask(ROOT, f"is_usable(Path({str(moved)!r}))") == "False"
    moved.rename(made)
    assert ask(ROOT, f"is_usable(Path({str(made)!r}))") == "True"


def test_two_at_once_make_it_once(copy: Path) -> None:
    venv = copy / ".venv"
    venv.mkdir()
    command = [sys.executable, str(copy / "lab" / "bootstrap.py"), str(venv)]
    env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}  # it could make none
    with locked(copy / "build" / "bootstrap.lock"):
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        assert second.stderr is not None
        assert "waiting for it" in second.stderr.readline()
        (venv / ".stamp").write_text(fingerprint(copy, venv))
    assert second.communicate(timeout=240) == ("", "")
    assert second.returncode == 0


def test_an_interruption_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://192.0.2.1/simple\n")  # it answers nobody
    # A shell's background job, as this run may be one, begins with interruptions ignored.
    heeding = ["env", "--default-signal=INT"]
    command = [*heeding, sys.executable, str(ROOT / "lab" / "bootstrap.py"), str(tmp_path / "venv")]
    env = {**os.environ, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env) as run:
        assert run.stdout is not None
        while "…" not in run.stdout.readline():
            pass
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=240)[1]
    assert run.returncode == 130
    assert said.splitlines() == ["bootstrap: interrupted. Run the same command again: it goes on where it stopped."]


def test_a_long_command_tells_what_it_is_and_for_how_long(tmp_path: Path) -> None:
    code = (
        "import bootstrap, sys; sys.path.insert(0, str(bootstrap.ROOT / 'lab' / 'src'))\n"
        "from appstack_lab import progress; progress.TICK_SECONDS = 0.1\n"
        "with open(sys.argv[1], 'w') as log: sys.exit(bootstrap.run_with_heartbeat('install it', ['sleep', '1'], log))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT / "lab", timeout=240)
    assert "s, still: install it" in done.stdout

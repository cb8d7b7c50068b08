"""Making the Python environment: a quick no-op when it is current, and a failure that tells the way out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def bootstrap(venv: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "lab" / "bootstrap.py"), str(venv)]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=120)


def test_a_package_index_out_of_reach_is_told_with_log_and_cause(tmp_path: Path) -> None:
    done = bootstrap(tmp_path / "venv", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert done.returncode == 1
    assert "pip install" in done.stderr
    assert "bootstrap.log" in done.stderr
    assert "Probable cause" in done.stderr


def test_a_current_environment_is_left_alone_at_once(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    venv.mkdir()
    code = "import bootstrap, sys; sys.stdout.write(bootstrap.inputs_fingerprint())"
    fingerprint = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT / "lab", text=True)
    (venv / ".stamp").write_text(fingerprint)
    done = bootstrap(venv)
    assert (done.returncode, done.stdout) == (0, "")


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
        said = run.communicate(timeout=60)[1]
    assert run.returncode == 130
    assert said.splitlines() == ["bootstrap: interrupted. Run the same command again: it goes on where it stopped."]


def test_a_long_command_tells_what_it_is_and_for_how_long(tmp_path: Path) -> None:
    code = (
        "import bootstrap, sys; sys.path.insert(0, str(bootstrap.ROOT / 'lab' / 'src'))\n"
        "from appstack_lab import progress; progress.TICK_SECONDS = 0.1\n"
        "with open(sys.argv[1], 'w') as log: sys.exit(bootstrap.run_with_heartbeat('install it', ['sleep', '1'], log))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT / "lab", timeout=60)
    assert "s, still: install it" in done.stdout

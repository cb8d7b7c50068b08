"""Make the virtual environment from the locks. Standard library only: it runs before anything is installed."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-dev.lock"
PACKAGES = ("operator", "backend", "lab")
STAMP = ".stamp"
PYTHON_AT_LEAST = (3, 11)


def main(argv: list[str]) -> int:
    """Create or refresh the environment named in `argv[1]`; a quick no-op when it is current."""
    venv = Path(argv[1] if len(argv) > 1 else ".venv").resolve()
    if sys.version_info < PYTHON_AT_LEAST:
        return fail(f"Python {sys.version.split()[0]} is too old: 3.11 or newer is needed. Try: make PYTHON=python3.12")
    sys.path.insert(0, str(ROOT / "lab" / "src"))
    from appstack_lab.locks import locked  # here: an older Python than it needs gets a clear word first

    if is_current(venv):
        return 0
    with locked(ROOT / "build" / "bootstrap.lock"):  # two at once would install into each other's files
        return 0 if is_current(venv) else make(venv)


def is_current(venv: Path) -> bool:
    """Whether the environment holds what this tree asks for."""
    stamp = venv / STAMP
    return stamp.exists() and stamp.read_text() == inputs_fingerprint(venv)


def make(venv: Path) -> int:
    """Make the environment, or bring it up to date; return the exit code."""
    started = time.monotonic()
    (venv / STAMP).unlink(missing_ok=True)  # interrupted, it is neither what it was nor what it is to be
    say(f"Python environment {venv} … (about a minute the first time, several on a busy machine)")
    build_log = ROOT / "build" / "logs" / "bootstrap.log"
    build_log.parent.mkdir(parents=True, exist_ok=True)
    with build_log.open("w") as log:
        for what, command in commands(venv):
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            if run_with_heartbeat(what, command, log):
                return fail_with_log(command, build_log)
    (venv / STAMP).write_text(inputs_fingerprint(venv))
    say(f"Python environment ready after {time.monotonic() - started:.0f} s")
    return 0


def run_with_heartbeat(what: str, command: list[str], log: IO[str]) -> int:
    """Run a command into the log, telling what it is and how long it has lasted; return its exit code."""
    from appstack_lab.progress import heartbeat

    say(f"  {what} …")
    with heartbeat(lambda: what, lambda line: say(f"    {line}")):
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, check=False).returncode


def inputs_fingerprint(venv: Path) -> str:
    """One digest over everything that decides what is installed: a changed input installs again.

    The places are part of it: the environment of a copied tree would run the code of the tree it was copied from.
    Not the build of Python: Debian's updates come with the packages that the first `make up` installs.
    """
    digest = hashlib.sha256(f"{platform.python_version()} {ROOT} {venv}".encode())
    for path in (LOCK, *(ROOT / name / "pyproject.toml" for name in PACKAGES)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def commands(venv: Path) -> list[tuple[str, list[str]]]:
    """What to run, in order, each with its name. pip verifies every file against the hashes of the lock."""
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    steps: list[tuple[str, list[str]]] = []
    if not has_venv_module():
        steps.append(("read Debian's package lists", ["apt-get", "update", "-qq"]))
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"  # Debian's own Python may be another
        steps.append((f"install {package}", ["apt-get", "install", "-y", "-qq", package]))
    if not is_usable(venv):
        steps.append(("make an empty environment", [sys.executable, "-m", "venv", "--clear", str(venv)]))
    steps.append(("install the locked packages", [*pip, "--require-hashes", "--requirement", str(LOCK)]))
    editable = [word for name in PACKAGES for word in ("--editable", str(ROOT / name))]
    steps.append(("install this tree's packages", [*pip, "--no-deps", "--no-build-isolation", *editable]))
    return steps


def is_usable(venv: Path) -> bool:
    """Whether an environment of this Python, made here, is there; it is then brought up to date in place."""
    config, pip = venv / "pyvenv.cfg", venv / "bin" / "pip"
    if not (config.exists() and pip.exists()):
        return False
    is_ours = f"{venv}/bin/python" in pip.read_text()  # programs name their interpreter: in a copy, another tree's
    return is_ours and f"version = {platform.python_version()}" in config.read_text()


def has_venv_module() -> bool:
    """Debian ships `venv` without its `ensurepip` half until python3-venv is installed."""
    probe = subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False)
    return probe.returncode == 0 or shutil.which("apt-get") is None or os.geteuid() != 0


def fail_with_log(command: list[str], log: Path) -> int:
    from appstack_lab.failures import probable_cause

    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    unknown = "none that is known; python3-venv may be missing, which only root can install"
    return fail(
        f"'{' '.join(command[:6])} …' failed.\n{tail}\n"
        f"The whole log: {log}\n"
        f"Probable cause: {probable_cause(tail) or unknown}."
    )


def fail(message: str) -> int:
    print(f"bootstrap: {message}", file=sys.stderr)
    return 1


def say(message: str) -> None:
    print(f"bootstrap: {message}", flush=True)


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv))
    except KeyboardInterrupt:
        fail("interrupted. Run the same command again: it goes on where it stopped.")
        raise SystemExit(130) from None

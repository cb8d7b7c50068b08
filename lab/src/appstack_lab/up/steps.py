"""Long work told to a person: what runs, for how long, and on failure which log to read and why it probably failed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 15


class StepFailed(Exception):
    """A step of `make up` did not succeed; the message is for the person at the terminal."""


@dataclass
class Steps:
    """Numbers and times the steps of one command, and keeps one log file per step in `log_dir`."""

    total: int
    log_dir: Path
    env: Mapping[str, str]
    started: float = field(default_factory=time.monotonic)
    number: int = 0
    log: Path = field(init=False)
    hint: str = field(default="", init=False)

    @contextmanager
    def step(self, title: str, log_name: str, hint: str) -> Iterator[None]:
        """One step: its output goes to LOG_DIR/LOG_NAME.log; `hint` is the probable cause of a failure."""
        self.number += 1
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.log, self.hint = self.log_dir / f"{log_name}.log", hint
        self.log.write_text("")
        say(f"[{self.number}/{self.total}] {title}")
        begun = time.monotonic()
        try:
            yield
        except StepFailed:
            say(f"      FAILED after {time.monotonic() - begun:.1f} s")
            raise
        say(f"      done in {time.monotonic() - begun:.1f} s ({time.monotonic() - self.started:.0f} s in all)")

    def run(self, *command: str, show: bool = False, stdin: str | None = None, is_secret: bool = False) -> str:
        """Run a command; return its standard output. Raises StepFailed with the end of the log.

        `show` passes its progress lines on to the terminal while it works; an answer that `is_secret` stays
        out of the log.
        """
        if shutil.which(command[0], path=self.env.get("PATH")) is None:
            raise StepFailed(f"'{command[0]}' is not on PATH. Install it, or use the lab: make up CLUSTER=lab")
        with self.log.open("a") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            code, output = self._run_shown(command, log) if show else self._run_quietly(command, log, stdin)
            log.write("(not shown)\n" if is_secret else output)
        if code:
            raise StepFailed(self.explain(f"'{' '.join(command[:8])}' ended with exit code {code}."))
        return output

    def _run_quietly(self, command: Sequence[str], log: IO[str], stdin: str | None) -> tuple[int, str]:
        done = subprocess.run(
            command, env=self.env, input=stdin, stdout=subprocess.PIPE, stderr=log, text=True, check=False
        )
        return done.returncode, done.stdout

    def _run_shown(self, command: Sequence[str], log: IO[str]) -> tuple[int, str]:
        """Progress is what a tool writes to standard error; its standard output is the answer."""
        with (
            tempfile.TemporaryFile("w+") as answer,
            subprocess.Popen(
                command, env=self.env, stdout=answer, stderr=subprocess.PIPE, text=True, bufsize=1
            ) as process,
        ):
            assert process.stderr is not None
            for line in process.stderr:
                log.write(line)
                sys.stdout.write(f"    {line}")
                sys.stdout.flush()
            process.wait()
            answer.seek(0)
            output = answer.read()
        return process.returncode, output

    def explain(self, what: str) -> str:
        """A failure in the words a person needs: what, the last lines, the log, the probable cause."""
        tail = "\n".join(f"    {line}" for line in self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        return f"{what}\n{tail}\n  The whole log:  {self.log}\n  Probable cause: {self.hint}"


def say(line: str) -> None:
    """One line for the person at the terminal, at once."""
    print(line, flush=True)

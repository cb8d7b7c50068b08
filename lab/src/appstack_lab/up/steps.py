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

from appstack_lab.failures import CAUSE_NAMED, LOG_NAMED, probable_cause
from appstack_lab.progress import heartbeat

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

    def run(
        self,
        *command: str,
        show: bool = False,
        stdin: str | None = None,
        is_secret: bool = False,
        is_poll: bool = False,
    ) -> str:
        """Run a command; return its standard output. Raises StepFailed with the end of the log.

        `show` passes its progress lines on to the terminal while it works; an answer that `is_secret` stays
        out of the log, and of a command that `is_poll`, repeated all the time, only a failure goes into it.
        """
        if shutil.which(command[0], path=self.env.get("PATH")) is None:
            raise StepFailed(f"'{command[0]}' is not on PATH. Install it, or use the lab instead: CLUSTER=lab")
        begin = self.log.stat().st_size
        with self.log.open("a") as log:
            log.write("" if is_poll else f"$ {' '.join(command)}\n")
            log.flush()
            code, output = self._run_shown(command, log) if show else self._run_quietly(command, log, stdin)
            if code or not is_poll:
                log.write("(not shown)\n" if is_secret else output)
        if code:
            what = f"'{' '.join(command[:8])}' ended with exit code {code}."
            raise StepFailed(self.explain(what, self.log.read_bytes()[begin:].decode(errors="replace")))
        return output

    def _run_quietly(self, command: Sequence[str], log: IO[str], stdin: str | None) -> tuple[int, str]:
        with heartbeat(lambda: " ".join(command[:4]), self.tell):
            done = subprocess.run(
                command,
                env=self.env,
                input=stdin or "",  # nothing to wait for: a question would stand in the log alone
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
            )
        return done.returncode, done.stdout

    def _run_shown(self, command: Sequence[str], log: IO[str]) -> tuple[int, str]:
        """Progress is what a tool writes to standard error; its standard output is the answer."""
        with (
            tempfile.TemporaryFile("w+") as answer,
            heartbeat(lambda: " ".join(command[:4]), self.tell) as heard,
            subprocess.Popen(
                command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=subprocess.PIPE,
                text=True,
                bufsize=1,
            ) as process,
        ):
            assert process.stderr is not None
            for line in process.stderr:
                heard()
                log.write(line)
                sys.stdout.write(f"    {line}")
                sys.stdout.flush()
            process.wait()
            answer.seek(0)
            output = answer.read()
        return process.returncode, output

    def tell(self, line: str) -> None:
        """One line below the step's title."""
        say(f"      {line}")

    def note(self, line: str) -> None:
        """One line for the log alone."""
        with self.log.open("a") as log:
            log.write(f"{line}\n")

    def explain(self, what: str, words: str = "") -> str:
        """A failure in the words a person needs: what, the last lines, the log, the probable cause.

        `words` is what the failed command said: a known phrase in them names the cause, and the lab tells its own, in a
        sentence or below the end of a log. Only where neither helps, the step's hint is all that can be said.
        """
        lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        told = [what, *(f"    {line}" for line in lines), f"  The whole log:  {self.log}"]
        from_lab = any(line.startswith("lab: ") for line in words.splitlines())
        has_log = LOG_NAMED in words and CAUSE_NAMED not in words
        if not from_lab or has_log:
            end = "\n".join(words.splitlines()[-TAIL_LINES:])
            told.append(f"  Probable cause: {probable_cause(end) or self.hint}")
        return "\n".join(told)


def say(line: str) -> None:
    """One line for the person at the terminal, at once."""
    print(line, flush=True)

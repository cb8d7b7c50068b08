"""Which settings PostgreSQL refuses: its own program is asked, beside the server that runs, before they reach that.

The operator proposes settings in Patroni's dynamic configuration, under a key that Patroni passes over. Every member
answers in an annotation of its own pod, and only what nobody refuses becomes a setting.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kube
from patroni_api import ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    Settings = Mapping[str, str]

ANNOTATION = "appstack.dev/parameters"
POLL_SECONDS = 2.0
ANSWER_SECONDS = 20.0
TRIAL_SECONDS = 60.0
# A trial is a server of its own: without a network, and without a log that nobody would find.
TRIAL_ONLY = {"listen_addresses": "", "logging_collector": "off", "archive_mode": "off"}

# Should memory become short, the trial goes, and not the server that others use.
SACRIFICED = ("choom", "-n", "1000", "--", "prlimit")
# What a server maps beside its shared memory.
PROGRAM_BYTES = 512 * 2**20
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Undecided(Exception):
    """No answer in time: neither a yes nor a no."""


def options(settings: Settings) -> list[str]:
    """Settings as arguments of the server."""
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def last_words(said: str) -> str:
    """Why a server ended: its fatal message, and what explains it."""
    lines = [line.partition(":  ") for line in said.splitlines() if ":  " in line]
    fatal = [text for head, _, text in lines if head.endswith(("FATAL", "PANIC"))]
    more = [text for head, _, text in lines if head.endswith(("DETAIL", "HINT"))]
    plain = [line for line in said.splitlines() if line][-1:] or ["it did not start"]
    return ". ".join(text.rstrip(".") for text in (fatal[:1] or plain) + more[:2])[:500]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """One program of PostgreSQL to its end, behind everything else on the machine."""
    try:
        return subprocess.run(["nice", *command], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise Undecided(f"{command[0]} gave no answer within {ANSWER_SECONDS:.0f} s") from error


def refusal(settings: Settings) -> str:
    """What PostgreSQL says against these settings; empty if nothing. Nothing is started."""
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        Path(folder, "postgresql.conf").touch()
        done = run(["postgres", "-D", folder, *options(settings), "-C", "port"])
        return last_words(done.stderr) if done.returncode else ""


@cache
def contexts() -> dict[str, str]:
    """Setting -> when it can change: postmaster (only at a start), sighup, user, ..."""
    lines = run(["postgres", "--describe-config"]).stdout.splitlines()
    return {fields[0]: fields[1] for line in lines if len(fields := line.split("\t")) > 1}


@cache
def major_version() -> int:
    """Of the server, as Patroni counts: 170000."""
    number = run(["postgres", "--version"]).stdout.split()[2]
    return int("".join(digit for digit in number.partition(".")[0] if digit.isdigit())) * 10000


def objection(name: str, value: str) -> str:
    """What Patroni would make of a value that PostgreSQL takes: it drops some and bends others, and tells its log."""
    from patroni.collections import CaseInsensitiveSet
    from patroni.postgresql.config import ConfigHandler
    from patroni.postgresql.validator import transform_postgresql_parameter_value

    option = ConfigHandler.CMDLINE_OPTIONS.get(name)
    if option and not option[1](value):
        return "Patroni does not take this value and would use its default"
    taken = transform_postgresql_parameter_value(major_version(), name, value, CaseInsensitiveSet(contexts()))
    if taken is None:
        return "Patroni would drop it"
    return "" if str(taken) == value else f"Patroni would make it {taken}"


def needs_a_start(name: str) -> bool:
    """Whether only a server that starts tells whether it can live with this setting."""
    return "." not in name and contexts().get(name, "postmaster") == "postmaster"


def start_fails(settings: Settings) -> str:
    """Why an empty server does not start with these settings; empty if it does."""
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        data = Path(folder, "data")
        made = run(["initdb", "-D", str(data), "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C"])
        if made.returncode:
            raise Undecided(f"no trial server could be made: {made.stderr[-200:]}")
        alone = {**settings, **TRIAL_ONLY, "unix_socket_directories": folder}
        with Path(folder, "log").open("w+") as log:
            command = [*SACRIFICED, f"--as={address_space()}", "nice", "postgres", "-D", str(data), *options(alone)]
            with subprocess.Popen(command, stdout=log, stderr=log) as server:
                try:
                    return "" if comes_up(server, data) else last_words(Path(folder, "log").read_text(errors="replace"))
                finally:
                    server.terminate()  # a smart shutdown: nobody is connected
                    stop(server)


def address_space() -> str:
    """How much a trial may map: a server that asks for more memory than the container has is refused it at once."""
    for file in LIMITS:
        with suppress(OSError, ValueError):
            return str(int(Path(file).read_text()) + PROGRAM_BYTES)
    return "unlimited"


def comes_up(server: subprocess.Popen[bytes], data: Path) -> bool:
    """Whether a starting server becomes ready, rather than ending; it says so in its pid file."""
    end = time.monotonic() + TRIAL_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            return False
        with suppress(OSError):
            if "ready" in (data / "postmaster.pid").read_text():
                return True
        time.sleep(0.1)
    raise Undecided(f"a trial server was not ready within {TRIAL_SECONDS:.0f} s")


def stop(server: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a server, and help it along."""
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()


def judge(in_force: Settings, proposed: Settings) -> dict[str, list[str]]:
    """Setting -> its value and why it is refused. Each is asked about by itself only where all together do not do."""
    refused: dict[str, list[str]] = {}
    everything = {**in_force, **proposed}
    if refusal(everything):
        refused = {name: [value, why] for name, value in everything.items() if (why := refusal({name: value}))}
    for name, value in everything.items():
        if name not in refused and (why := objection(name, value)):
            refused[name] = [value, why]
    rest = {name: value for name, value in proposed.items() if name not in refused}
    return refused | try_out({name: value for name, value in in_force.items() if name not in refused}, rest)


def try_out(in_force: Settings, proposed: Settings) -> dict[str, list[str]]:
    """What a server does not start with, of settings that only a start takes."""
    late = {name: value for name, value in proposed.items() if needs_a_start(name)}
    together = start_fails({**in_force, **proposed}) if late else ""
    if not together:
        return {}
    alone = {name: why for name, value in late.items() if (why := start_fails({**in_force, name: value}))}
    return {name: [late[name], why] for name, why in (alone or dict.fromkeys(late, together)).items()}


def settings_of(config: Any) -> tuple[dict[str, str], dict[str, str]]:
    """What is in force and what is proposed, of Patroni's dynamic configuration."""
    if not isinstance(config, dict):
        return {}, {}
    in_force = (config.get("postgresql") or {}).get("parameters") or {}
    proposed = (config.get("appstack") or {}).get("proposed") or {}
    return {name: str(value) for name, value in in_force.items()}, {name: str(v) for name, v in proposed.items()}


def report_on(in_force: Settings, proposed: Settings) -> str | None:
    """The annotation's text; None where there is nothing to say."""
    refused = judge(in_force, proposed)
    if not proposed and not refused:
        return None
    return json.dumps({"checked": dict(proposed), "refused": refused}, sort_keys=True)


def main(me: str, say: Any) -> None:
    """Look, ask, answer; for ever. The annotation is written only when the answer is another one."""
    judged: Any = None
    clean()
    while True:
        time.sleep(POLL_SECONDS)
        try:
            config = ask("GET", "/config")
            settings = settings_of(config)
            if not settings[0] or settings == judged:
                continue
            report = report_on(*settings)
            write(me, report)
            if report:
                say(f"looked at settings: {report}")
            judged = settings
        except (OSError, Undecided) as error:
            say(f"settings could not be looked at yet: {error}")


def write(me: str, report: str | None) -> None:
    """Say it in the annotation, unless it says that already."""
    pod = kube.call("GET", f"pods/{me}")
    if ((pod["metadata"].get("annotations") or {}).get(ANNOTATION)) != report:
        kube.call("PATCH", f"pods/{me}", {"metadata": {"annotations": {ANNOTATION: report}}})


def clean() -> None:
    """Take away what a killed agent left of its trials."""
    folder = Path(tempfile.gettempdir())
    for left in (*folder.glob("trial-*"), *folder.glob("check-*")):
        shutil.rmtree(left, ignore_errors=True)

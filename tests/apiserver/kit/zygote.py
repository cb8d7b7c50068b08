"""Starts operators without importing them anew: a child of this process is the operator, from its first line of code.

One line of JSON on standard input, {"environment": …, "log": …}, starts one; the answer is its process id. The children
end with this process. How one ended stands in LOG.end.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from kubernetes.aio.config import kube_config

from appstack_operator import logs, process
from appstack_operator.settings import Settings

PR_SET_PDEATHSIG = 1


def become_operator(environment: dict[str, str], log: str) -> None:
    """What `appstack-operator run` does, in the forked child."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.environ.update(environment)
    kube_config.KUBE_CONFIG_DEFAULT_LOCATION = environment["KUBECONFIG"]  # read from the environment at its import
    settings = Settings()  # type: ignore[call-arg]
    logs.configure(settings.log_level)
    process.run(settings)


def tell_ends(logs_by_child: dict[int, str]) -> None:
    """Write down how those ended that did."""
    for child in list(logs_by_child):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
            Path(f"{logs_by_child.pop(child)}.end").write_text(f"process {child} ended {how}\n")


def main() -> None:
    """Fork on demand until standard input ends."""
    logs_by_child: dict[int, str] = {}
    signal.signal(signal.SIGCHLD, lambda *_: tell_ends(logs_by_child))
    for line in sys.stdin:
        wanted = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                become_operator(wanted["environment"], wanted["log"])
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        logs_by_child[child] = wanted["log"]
        tell_ends(logs_by_child)  # it may have ended before it was known
        print(child, flush=True)


if __name__ == "__main__":
    main()

"""Raises the machine's limits that several nodes on one kernel need, and puts them back afterwards."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from appstack_lab import paths
from appstack_lab.locks import locked
from appstack_lab.state import write_json

SETTINGS = Path("/proc/sys")
# At least so much: every container runtime, kubelet and pod of all nodes counts as one user.
MINIMUM = {"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 524288}
# The kubelet sets these for itself; remembered, so that the last cluster can put them back.
KUBELET = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")


def remembered() -> Path:
    return paths.STATE / "sysctls.json"


def raise_limits() -> None:
    """Remember the machine's settings once, and raise what is too low."""
    with locked(paths.shared_lock("index")):  # of two first clusters, one would remember what the other raised
        if not remembered().exists():
            names = [*MINIMUM, *KUBELET]
            write_json(
                remembered(),
                {name: (SETTINGS / name).read_text().strip() for name in names if (SETTINGS / name).exists()},
            )
        for name, least in MINIMUM.items():
            setting = SETTINGS / name
            if setting.exists() and int(setting.read_text()) < least:
                with contextlib.suppress(OSError):
                    setting.write_text(str(least))


def restore_limits() -> None:
    """Put the machine's settings back; for when no cluster is left."""
    if not remembered().exists():
        return
    for name, value in json.loads(remembered().read_text()).items():
        with contextlib.suppress(OSError):
            (SETTINGS / name).write_text(value)
    remembered().unlink()

"""No operator of a test outlives the tests, whatever ends them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lease.conftest import wait_until

ROOT = Path(__file__).parents[2]
PARENT = """
import sys, time
from pathlib import Path
from tests.lease.conftest import Cluster
folder = Path(sys.argv[1])
print(Cluster(folder, folder, "", folder, 0).start("child", ["sleep", "600"]).pid, flush=True)
time.sleep(600)
"""


def test_a_killed_test_session_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().strip()
        # Before it is `sleep` it is `setpriv … sleep`, which may not have asked for its end yet.
        wait_until(lambda: (child / "cmdline").read_bytes().startswith(b"sleep"), "the child runs", 120)
        parent.kill()
        wait_until(lambda: is_dead(child), "the child ends with it", 120)


def is_dead(process: Path) -> bool:
    """Ended, whether or not whoever inherited it has collected it already."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True

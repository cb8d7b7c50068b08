"""Running a server from the root filesystem of one of our images, leaving nothing behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# In a mount, process and IPC namespace of its own: the image below, the scratch folder above, chroot.
# Whatever the server starts ends with it, and nothing stays mounted, however the tests end.
ENTER = """
set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
# Shared memory of its own: PostgreSQL's files would outlive it on the machine's.
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$2/root/dev/shm"
mkdir -p "$2/root/scratch"
mount --bind "$2/scratch" "$2/root/scratch"
cat "$2/hosts" > "$2/root/etc/hosts"
user=$3 root=$2/root; shift 3
chroot --userspec="$user" "$root" "$@" &
# This shell stays as the namespace's first process: a change of user would lose the order to die.
wait $!
"""

LOCALHOST = "127.0.0.1 localhost\n"
LOWEST_PORT = 16_000  # above what the machine's own services are likely to have
BLOCK, CLAIM = 128, "appstack-tests-ports"
_left: list[int] = []  # of the blocks that this process has claimed
_claims: list[socket.socket] = []


@cache
def rootfs(image: str) -> Path:
    """The directory of an image's root filesystem; built if it is missing."""
    lab = shutil.which("lab") or str(Path(sys.executable).parent / "lab")
    output = subprocess.run([lab, "rootfs", image], check=True, stdout=subprocess.PIPE, text=True).stdout
    return Path(output.strip().splitlines()[-1])


def free_port() -> int:
    """A port that nobody has at any address right now, and that no outgoing connection is given meanwhile.

    No caller gets one that another has got, in this process or in another that runs tests: its server may be still to
    come, or be away for a moment.
    """
    while True:
        if not _left:
            _left.extend(claim_block())
        port = _left.pop()
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("", port))
            return port


def claim_block() -> list[int]:
    """Ports that no other process claims before this one has ended, in no order: the kernel knows who holds a name."""
    lowest_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    blocks = range(LOWEST_PORT, lowest_given - BLOCK + 1, BLOCK)
    for first in random.SystemRandom().sample(blocks, len(blocks)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0{CLAIM}-{first}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return random.SystemRandom().sample(range(first, first + BLOCK), BLOCK)
    raise RuntimeError("tests hold every port that they may")


def children(pid: int) -> list[int]:
    """The processes that one has started and that have not ended."""
    found: list[int] = []
    with suppress(OSError):
        for listed in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, listed.read_text().split())
    return found


def enter_network(pid: int) -> list[str]:
    """What a command begins with that is to have the network of a process."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


@dataclass(slots=True)
class Box:
    """A place to run one image: its own scratch folder, seen as /scratch, and its numeric user.

    It has the machine's network, or that of the process `network`, and knows the names in `hosts`.
    """

    image: str
    user: int
    folder: Path
    network: int = 0
    hosts: str = LOCALHOST

    def __post_init__(self) -> None:
        for name in ("upper", "work", "root", "scratch"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        shutil.chown(self.folder / "scratch", self.user, self.user)
        (self.folder / "hosts").write_text(self.hosts)

    def write(self, name: str, text: str) -> str:
        """A file under /scratch that the server may read and write."""
        path = self.folder / "scratch" / name
        path.write_text(text)
        shutil.chown(path, self.user, self.user)
        path.chmod(0o600)
        return f"/scratch/{name}"

    def remove(self, name: str) -> None:
        """Take a file under /scratch away."""
        (self.folder / "scratch" / name).unlink(missing_ok=True)

    def command(self, args: Sequence[str]) -> list[str]:
        # The server dies with the process that started it, even if that is killed.
        network = enter_network(self.network) if self.network else []
        return [
            *("setpriv", "--pdeathsig", "KILL", *network),
            *("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child"),
            *("sh", "-c", ENTER, "sh", str(rootfs(self.image)), str(self.folder)),
            f"{self.user}:{self.user}",
            *args,
        ]

    def run(self, *args: str) -> str:
        """Run something to its successful end; what it printed."""
        done = subprocess.run(self.command(args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"{args[0]} failed in the image {self.image}:\n{done.stdout}")
        return done.stdout

    def start(self, *args: str) -> Server:
        """Start a server."""
        log = self.folder / "log"
        with log.open("ab") as output:
            process = subprocess.Popen(self.command(args), stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        return Server(process, log)


@dataclass(slots=True)
class Server:
    """A running server. Stopping it is as sudden as a crash; its ports and files are free once that has returned."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The server itself, once it runs: below the two that put it into its box. What it forks is not meant."""
        (shell,) = children(self.process.pid)
        (server,) = children(shell)
        return server

    def stop(self) -> None:
        # The first process of the namespace, not the one that waits for it: the kernel ends it after all the others.
        if not (first := children(self.process.pid)):
            self.process.kill()
        for pid in first:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def check(self) -> None:
        """Raise if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"a server ended:\n{self.log.read_text(errors='replace')[-3000:]}")

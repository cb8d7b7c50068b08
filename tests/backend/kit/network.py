"""A network of hosts with addresses of their own, any of which can be cut off or refused. It ends with this process."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab.packages import CLUSTER_TOOLS, ensure_packages
from tests.backend.kit.processes import wait_until
from tests.backend.kit.rootfs import enter_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SWITCH = "switch"


class Network:
    """Hosts by their addresses, and the process whose network namespace each one is."""

    def __init__(self) -> None:
        self._holders: list[subprocess.Popen[bytes]] = []
        self._hosts: dict[str, int] = {}
        self._switch = self._new_namespace()
        self._ip(self._switch, "link", "add", SWITCH, "type", "bridge")
        self._ip(self._switch, "link", "set", SWITCH, "up")

    def add(self, address: str) -> int:
        """A host; returns the process whose network it is."""
        host = self._hosts[address] = self._new_namespace()
        port = self._port(address)
        self._ip(self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(host))
        self._ip(self._switch, "link", "set", port, "master", SWITCH, "up")
        self._ip(host, "address", "add", f"{address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            self._ip(host, "link", "set", link, "up")
        return host

    def cut(self, address: str) -> None:
        """What is sent to this host, or by it, vanishes."""
        self._ip(self._switch, "link", "set", self._port(address), "nomaster")

    def mend(self, address: str) -> None:
        self._ip(self._switch, "link", "set", self._port(address), "master", SWITCH)

    def refuse(self, at: str, to: str) -> None:
        """What this host sends to an address comes back to it as refused: a Service without anybody behind it."""
        self._nft(at, "add table ip refused; add chain ip refused out { type filter hook output priority 0; }")
        self._nft(at, f"add rule ip refused out ip daddr {to} reject")

    def refuse_nothing(self, at: str) -> None:
        self._nft(at, "delete table ip refused")

    def end(self) -> None:
        for holder in self._holders:
            holder.kill()
            holder.wait()

    def _port(self, address: str) -> str:
        return f"port{list(self._hosts).index(address)}"

    def _new_namespace(self) -> int:
        """A namespace without a name: nothing is left of it once its process has ended."""
        holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"])
        self._holders.append(holder)
        wait_until(lambda: namespace_of(str(holder.pid)) != namespace_of("self"), "the process has its own network")
        return holder.pid

    def _nft(self, address: str, commands: str) -> None:
        run([*enter_network(self._hosts[address]), "nft", commands])

    def _ip(self, pid: int, *words: str) -> None:
        run([*enter_network(pid), "ip", *words])


def namespace_of(pid: str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def run(command: Sequence[str]) -> None:
    """Raise with what was said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")


@contextmanager
def network() -> Iterator[Network]:
    """A network without hosts yet."""
    ensure_packages({name: CLUSTER_TOOLS[name] for name in ("ip", "nft", "nsenter")})
    made = Network()
    try:
        yield made
    finally:
        made.end()

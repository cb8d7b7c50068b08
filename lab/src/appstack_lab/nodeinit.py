"""The first process of a node: gives it a /run, /var/log and volumes of its own, then supervises.

Runs in new mount, process and host name namespaces (see `build_node_command`): whatever it mounts and
whoever it starts vanishes with it, so a crash is one kill and a teardown leaves nothing.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

from appstack_lab.commands import output_of
from appstack_lab.supervisor import supervise

# Places that no setting moves, each with the directory of the node that lies over it.
NODE_DIRECTORIES = {"log": "/var/log", "cni-results": "/var/lib/cni", "kubelet-sockets": "/var/lib/kubelet"}


def mount(*arguments: str) -> None:
    output_of(["mount", *arguments])


def make_node(spec: dict[str, Any]) -> None:
    """Turn the namespaces into a node: {"name", "home", "volumes": path of a disk image or ""}."""
    home = Path(spec["home"])
    socket.sethostname(spec["name"])
    mount("--make-rshared", "/")  # volumes that pods mount reach other pods; the machine sees none
    mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    for path in ("/run/lock", "/run/netns"):
        Path(path).mkdir()
    for name, target in NODE_DIRECTORIES.items():
        mount("--bind", str(home / name), target)
    if spec["volumes"]:
        mount("-o", "loop", spec["volumes"], str(home / "volumes"))
        (home / "volumes").chmod(0o755)


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text())
    make_node(spec)
    supervise(spec)


if __name__ == "__main__":
    main()

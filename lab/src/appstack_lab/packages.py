"""Installs the Debian packages the lab stands on, when they are missing."""

from __future__ import annotations

import os
from pathlib import Path
from shutil import which

from appstack_lab import paths
from appstack_lab.commands import SYSTEM_PATH, run_logged, succeeds
from appstack_lab.failures import LabError
from appstack_lab.locks import locked
from appstack_lab.progress import step

# What tells that a package is there (a command, or files that match a pattern), and the package.
CLUSTER_TOOLS = {
    "containerd": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "mkfs.ext4": "e2fsprogs",
    "nsenter": "util-linux",
    "mount": "mount",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
DOWNLOAD_TOOLS = {"update-ca-certificates": "ca-certificates"}
IMAGE_TOOLS = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "gpg": "gpg",  # with it mmdebstrap names the keyring where the machine's apt does not trust the suite's keys
    "/usr/share/keyrings/debian-archive-trixie-stable.*": "debian-archive-keyring",  # older ones lack the suite's keys
}

# Services that a package of the above starts, and enables for every boot: the lab wants its programs alone.
SERVICES = {"containerd": "containerd.service"}
# systemctl then speaks to no service manager, so nothing starts; what installs a unit enables it all the same.
QUIETLY = {"DEBIAN_FRONTEND": "noninteractive", "SYSTEMD_OFFLINE": "1"}


def find_command(name: str) -> str | None:
    """Return the path of a command, also of one for administrators only."""
    return which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def is_there(tool: str) -> bool:
    return any(Path("/").glob(tool[1:])) if tool.startswith("/") else find_command(tool) is not None


def missing_packages(tools: dict[str, str]) -> list[str]:
    """Return the packages of tools that this machine lacks."""
    return sorted({package for tool, package in tools.items() if not is_there(tool)})


def ensure_certificates() -> None:
    """Install the authorities that downloads are checked against; other systems than Debian bring theirs."""
    if find_command("apt-get"):
        ensure_packages(DOWNLOAD_TOOLS)


def ensure_packages(tools: dict[str, str]) -> None:
    """Install what is missing; quick when nothing is."""
    if not missing_packages(tools):
        return
    with locked(paths.cache() / "packages.lock"):
        missing = missing_packages(tools)
        if not missing:
            return
        if find_command("apt-get") is None:
            raise LabError(f"please install: {' '.join(missing)} (only Debian's packages are automatic)")
        if os.geteuid() != 0:
            raise LabError(f"please install as root: apt-get install --no-install-recommends {' '.join(missing)}")
        with step(f"install {' '.join(missing)}"):
            install(missing)


def install(missing: list[str]) -> None:
    """Install packages of Debian without starting or enabling their services."""
    log = paths.logs() / "packages.log"
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    run_logged("apt-get update", ["apt-get", "update", "-qq"], log, env=QUIETLY)
    try:
        run_logged("apt-get install", command, log, env=QUIETLY)
    finally:  # also of what an interrupted installation leaves behind: the next one no longer misses it
        for package in missing:
            if package in SERVICES:
                succeeds(["systemctl", "disable", SERVICES[package]])

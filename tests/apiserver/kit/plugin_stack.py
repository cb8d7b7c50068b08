"""kubectl appstack on a converged stack: the manifest of that stack, the command, and an operator that is at work."""

from __future__ import annotations

import asyncio
import copy
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appstack_lab.binaries import bin_directory
from appstack_operator.kinds import LEASE, STACK
from tests.apiserver.kit.life import NAME, SPEC, Life

if TYPE_CHECKING:
    from tests.apiserver.kit.plugin import Outcome, Plugin

NAMESPACE = "plugin"
HOME = "home-of-the-operator"


def a_manifest(name: str = NAME, **changes: Any) -> dict[str, Any]:
    """The manifest of the converged stack with other parts of the spec."""
    spec = {**copy.deepcopy(SPEC), **changes}
    return {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": name}, "spec": spec}


async def plan(plugin: Plugin, manifest: dict[str, Any], *words: str) -> Outcome:
    return await plugin.plan(manifest, "--operator-namespace", HOME, *words)


async def kubectl(plugin: Plugin, *words: str, stdin: str = "") -> str:
    """The real kubectl, with this environment's commands on its PATH."""
    here = str(Path(sys.executable).parent)
    environment = {**os.environ, "KUBECONFIG": str(plugin.kubeconfig), "PATH": f"{here}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        str(bin_directory() / "kubectl"),
        *words,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(stdin.encode())
    assert process.returncode == 0, err.decode()
    return out.decode()


async def status(shop: Life, plugin: Plugin, *words: str, silent_seconds: float | None = 0) -> Outcome:
    """The status while the operator's Lease was renewed that long ago; None: there is no Lease."""
    await let_be_silent(shop, silent_seconds)
    return await plugin.run("status", NAME, *words)


async def let_be_silent(shop: Life, silent_seconds: float | None) -> None:
    path = LEASE.path(HOME, "appstack-operator")
    await shop.cast.client.delete(path)
    if silent_seconds is not None:
        renewed = datetime.now(UTC) - timedelta(seconds=silent_seconds)
        spec = {"holderIdentity": "operator-0", "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        await shop.ask("POST", LEASE.path(HOME), json={"metadata": {"name": "appstack-operator"}, "spec": spec})

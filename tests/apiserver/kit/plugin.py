"""kubectl appstack, run in this process: its exit code and what it printed."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from appstack_operator.plugin.main import Streams, run

if TYPE_CHECKING:
    from tests.apiserver.kit.server import BareCluster

OUTPUTS = Path(__file__).parents[1] / "outputs"
# Ages and hashes differ from run to run, generations with the tests before.
CHANGING = (
    (r"\b\d+[smhd]\b", "AGE"),
    (r"\b(generation|is at) \d+", r"\1 N"),
    (r"shop-migrate-[0-9a-f]{10}", "shop-migrate-HASH"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left."""

    code: int
    out: str
    err: str


async def run_with(words: list[str], stdin: str) -> Outcome:
    """In a thread: the command has an event loop of its own."""
    out, err = io.StringIO(), io.StringIO()
    code = await asyncio.to_thread(run, words, Streams(io.StringIO(stdin), out, err))
    return Outcome(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True, slots=True)
class Plugin:
    """The command with a kubeconfig of its own."""

    kubeconfig: Path

    async def run(self, *words: str, stdin: str = "") -> Outcome:
        """The command with these words."""
        return await run_with([*words, "--kubeconfig", str(self.kubeconfig)], stdin)

    async def plan(self, manifest: dict[str, Any], *words: str) -> Outcome:
        """A plan for this manifest, read from standard input."""
        return await self.run("plan", "-f", "-", *words, stdin=yaml.safe_dump(manifest))


def write_kubeconfig(cluster: BareCluster, path: Path, namespace: str = "default") -> Path:
    """An administrator's kubeconfig."""

    def content(name: str) -> str:
        return base64.b64encode((cluster.pki / name).read_bytes()).decode()

    server = {"server": f"https://{cluster.api}", "certificate-authority-data": content("ca.crt")}
    user = {"client-certificate-data": content("admin.crt"), "client-key-data": content("admin.key")}
    context = {"cluster": "bare", "user": "admin", "namespace": namespace}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bare",
        "clusters": [{"name": "bare", "cluster": server}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "bare", "context": context}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def steady(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return text


def kept(name: str, output: str) -> str:
    """The kept output of this name; APPSTACK_KEEP_OUTPUTS=1 keeps the new one instead, to be read and committed."""
    path = OUTPUTS / f"{name}.txt"
    if os.environ.get("APPSTACK_KEEP_OUTPUTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(output)
    return path.read_text()

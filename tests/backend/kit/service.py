"""An address on loopback that leads to one of several, chosen for each connection, as that of a Service does."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from appstack_lab.packages import CLUSTER_TOOLS, ensure_packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ADDRESS = "127.0.0.9"
TABLE = "appstack_test_"


class Service:
    """Its endpoints, one after the other, and those among them whose node is lost: what is sent to them vanishes."""

    def __init__(self, port: int) -> None:
        self.port, self._table = port, f"{TABLE}{port}"

    def lead_to(self, endpoints: Sequence[str], lost: Sequence[str] = ()) -> None:
        """New connections go to these; those that there are stay where they are."""
        numbered = ", ".join(f"{number} : {endpoint}" for number, endpoint in enumerate(endpoints))
        drops = "".join(
            f"  ip daddr {node} tcp dport {self.port} drop\n  ip saddr {node} tcp sport {self.port} drop\n"
            for node in lost
        )
        self._load(
            f"table ip {self._table} {{\n"
            " chain choose {\n  type nat hook output priority -100\n"
            f"  ip daddr {ADDRESS} tcp dport {self.port} dnat to numgen inc mod {len(endpoints)} map {{ {numbered} }}\n"
            " }\n"
            f" chain lose {{\n  type filter hook output priority 0\n{drops} }}\n"
            "}\n"
        )

    def end(self) -> None:
        """Take the address away."""
        self._load("")

    def _load(self, rules: str) -> None:
        table = f"table ip {self._table}"
        script = f"{table} {{ }}\ndelete {table}\n{rules}"
        subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


@contextmanager
def service(port: int) -> Iterator[Service]:
    """A Service without endpoints yet."""
    ensure_packages({"nft": CLUSTER_TOOLS["nft"]})
    made = Service(port)
    try:
        yield made
    finally:
        made.end()

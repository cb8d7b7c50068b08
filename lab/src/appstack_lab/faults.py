"""Breaks nodes on purpose, and mends them: cut off, one way or both; crashed; started again."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING

from appstack_lab.client import nodes_ready
from appstack_lab.commands import output_of
from appstack_lab.failures import LabError
from appstack_lab.locks import locked
from appstack_lab.network import NAMESPACES, renew_node_network, route_services, service_route_node
from appstack_lab.orders import ask
from appstack_lab.progress import say
from appstack_lab.state import write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from appstack_lab.cluster import Cluster, Node

Faults = tuple[dict[str, str], set[str]]  # node -> the direction in which it is cut off; the nodes that are down

TABLE = "appstack_lab_faults"
CUT_WORDS = {"both": "both ways", "in": "nothing reaches it", "out": "nothing leaves it"}
DIRECTIONS = set(CUT_WORDS)
RESTART_SECONDS = 60.0


def build_rules(cuts: dict[str, str]) -> str:
    """Write the bridge's rules for the cut nodes: node -> both, in (to the node) or out (from it)."""
    lines = [f"table bridge {TABLE}", f"delete table bridge {TABLE}"]
    if not cuts:
        return "\n".join(lines) + "\n"
    lines += [f"table bridge {TABLE} {{", "  chain forward {", "    type filter hook forward priority 0;"]
    for node, direction in sorted(cuts.items()):
        if direction in ("both", "out"):
            lines.append(f'    iifname "{node}" drop')
        if direction in ("both", "in"):
            lines.append(f'    oifname "{node}" drop')
    return "\n".join([*lines, "  }", "}"]) + "\n"


def cuts_file(cluster: Cluster) -> Path:
    return cluster.directory / "cuts.json"


def dead_file(cluster: Cluster) -> Path:
    return cluster.directory / "dead.json"


def current_cuts(cluster: Cluster) -> dict[str, str]:
    """Return which nodes are cut off now, and in which direction."""
    path = cuts_file(cluster)
    cuts: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return cuts


def crashed_nodes(cluster: Cluster) -> set[str]:
    """Return the nodes that are down on purpose."""
    path = dead_file(cluster)
    return set(json.loads(path.read_text())) if path.exists() else set()


def change_faults(cluster: Cluster, change: Callable[[Faults], Faults]) -> None:
    """Make the bridge drop what belongs to cut and dead nodes: silently, as a broken switch would."""
    enter = ["nsenter", f"--net={NAMESPACES / cluster.switch}"]
    with locked(cluster.directory / "faults.lock"):  # of two changes at once, one would undo the other
        cuts, dead = change((current_cuts(cluster), crashed_nodes(cluster)))
        dropped = {**cuts, **dict.fromkeys(dead, "both")}
        output_of([*enter, "nft", "-f", "-"], stdin=build_rules(dropped))
        write_json(cuts_file(cluster), cuts)
        write_json(dead_file(cluster), sorted(dead))


def without(cuts: dict[str, str], name: str) -> dict[str, str]:
    return {node: direction for node, direction in cuts.items() if node != name}


def move_service_route(cluster: Cluster, away_from: Node) -> None:
    """Let the machine reach services through a node that works, when this one carries the route."""
    carrier = service_route_node(cluster)
    if carrier is not None and carrier != away_from:
        return
    broken = set(current_cuts(cluster)) | crashed_nodes(cluster) | {away_from.name}
    ready = nodes_ready(cluster)
    whole = [node for node in cluster.nodes if node.name not in broken and ready.get(node.name)]
    if not whole:
        say("  no other node can carry the route of the services: they are out of reach from here")
        return
    route_services(cluster, whole[0])
    say(f"  services are now reached through {whole[0].name}")


def partition(cluster: Cluster, node: Node, direction: str) -> None:
    """Cut a node off from everybody; what runs on it goes on."""
    if direction not in DIRECTIONS:
        raise LabError(f"a node can be cut off {', '.join(sorted(DIRECTIONS))}, not {direction}")
    before = current_cuts(cluster)
    move_service_route(cluster, node)
    change_faults(cluster, lambda faults: ({**faults[0], node.name: direction}, faults[1]))
    already = before.get(node.name) == direction
    back = f"lab node heal {node.name} --name {cluster.name}"
    say(f"  {node.name} {'was cut off already' if already else 'is cut off'} ({CUT_WORDS[direction]}); back: {back}")


def heal(cluster: Cluster, node: Node) -> None:
    """Plug a node in again."""
    was_cut = node.name in current_cuts(cluster)
    change_faults(cluster, lambda faults: (without(faults[0], node.name), faults[1]))
    say(f"  {node.name} is plugged in again" if was_cut else f"  {node.name} was not cut off")
    if node.name in crashed_nodes(cluster):
        say(f"  it is down: lab node restart {node.name} --name {cluster.name}")


def crash(cluster: Cluster, node: Node) -> None:
    """Take a node down at once, with all its containers; it stays down until it is restarted.

    Its cable goes first: a machine that loses power says no goodbye to its peers.
    """
    already = node.name in crashed_nodes(cluster)
    take_down(cluster, node)
    back = f"lab node restart {node.name} --name {cluster.name}"
    say(f"  {node.name} {'was down already' if already else 'is down with all its containers'}; back: {back}")


def take_down(cluster: Cluster, node: Node) -> None:
    """Pull a node's cable and stop all that runs in it."""
    move_service_route(cluster, node)
    change_faults(cluster, lambda faults: (faults[0], faults[1] | {node.name}))
    order(cluster, "stop", node)
    wait_for_state(cluster, node, "stopped")


def restart(cluster: Cluster, node: Node) -> None:
    """Start a crashed node, or crash and start a running one; return when its processes run."""
    was_down = node.name in crashed_nodes(cluster)
    if not was_down:
        take_down(cluster, node)
    renew_node_network(cluster, node)  # a kernel that boots knows no connections and no rules
    change_faults(cluster, lambda faults: (faults[0], faults[1] - {node.name}))
    order(cluster, "start", node)
    deadline = time.monotonic() + RESTART_SECONDS
    while not runs(cluster, node):
        if time.monotonic() > deadline:
            raise LabError(f"{node.name} does not come up: lab logs {node.name}-kubelet --name {cluster.name}")
        time.sleep(0.2)
    say(f"  {node.name} {'runs again' if was_down else 'was taken down, and runs again'}: it is Ready in seconds")
    if node.name in current_cuts(cluster):
        say(f"  it is still cut off: lab node heal {node.name} --name {cluster.name}")


def runs(cluster: Cluster, node: Node) -> bool:
    """Tell whether a node's processes run."""
    status = ask(cluster.node_socket(node), "status")
    return status is not None and all(each["state"] == "running" for each in status["processes"])


def order(cluster: Cluster, do: str, node: Node) -> None:
    if ask(cluster.socket, do, node.name) is None:
        raise LabError(f"cluster {cluster.name} has no supervisor: lab create cluster --name {cluster.name}")


def wait_for_state(cluster: Cluster, node: Node, state: str) -> None:
    """Wait until the supervisor sees a node in a state."""
    deadline = time.monotonic() + RESTART_SECONDS
    while time.monotonic() < deadline:
        status = ask(cluster.socket, "status") or {"processes": []}
        if any(each["name"] == node.name and each["state"] == state for each in status["processes"]):
            return
        time.sleep(0.05)
    raise LabError(f"{node.name} is not {state} after {RESTART_SECONDS:.0f} s")


def shell(cluster: Cluster, node: Node, command: list[str]) -> int:
    """Run a command in a node's namespaces, for looking around; return its exit code."""
    status = ask(cluster.node_socket(node), "status")
    if status is None:
        raise LabError(f"{node.name} is down")
    outer = ask(cluster.socket, "status") or {"processes": []}
    wrapper = next(each["pid"] for each in outer["processes"] if each["name"] == node.name)
    init = first_child(wrapper)
    enter = ["nsenter", f"--target={init}", "--mount", "--uts", "--pid", "--net"]
    return subprocess.run([*enter, *(command or ["bash"])], check=False).returncode


def first_child(pid: int) -> int:
    from appstack_lab.supervisor import children_of

    return children_of(pid)[0]

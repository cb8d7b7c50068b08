"""Tells how a cluster is: its processes, nodes, addresses and versions, and lines that spell trouble."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from appstack_lab import faults
from appstack_lab.client import get_json, is_ready, nodes_ready
from appstack_lab.create import completion, is_complete, standstill
from appstack_lab.network import service_route_node
from appstack_lab.orders import ask

if TYPE_CHECKING:
    from pathlib import Path

    from appstack_lab.cluster import Cluster

# klog's errors and fatals, Go's panics, and what the store says when it is in trouble.
TROUBLE = re.compile(r'^(E|F)\d{4} |^panic:|^fatal error:|"level":"(error|fatal|panic)"|level=(error|fatal)')
TAIL_BYTES = 65536
LINES_PER_LOG = 2
CRASHED = "crashed"


def processes_of_cluster(cluster: Cluster) -> list[dict[str, Any]]:
    """Return every supervised process, those in nodes under node/name."""
    answer = ask(cluster.socket, "status")
    if answer is None:
        return []
    processes = list(answer["processes"])
    for node in cluster.nodes:
        inner = ask(cluster.node_socket(node), "status") or {"processes": []}
        processes += [{**each, "name": f"{node.name}-{each['name']}"} for each in inner["processes"]]
    return processes


def trouble_in(log: Path, start_bytes: int) -> list[str]:
    """Return the last lines of a log, from a position on, that spell trouble."""
    with log.open("rb") as handle:
        handle.seek(max(start_bytes, log.stat().st_size - TAIL_BYTES))
        lines = handle.read().decode(errors="replace").splitlines()
    return [line for line in lines if TROUBLE.search(line)][-LINES_PER_LOG:]


def describe_nodes(cluster: Cluster) -> list[dict[str, Any]]:
    """Return each node with its addresses and what was done to it."""
    ready, cuts, crashed = nodes_ready(cluster), faults.current_cuts(cluster), faults.crashed_nodes(cluster)
    described = []
    for node in cluster.nodes:
        fault = CRASHED if node.name in crashed else ""
        if node.name in cuts:
            fault = f"cut off ({cuts[node.name]})"
        described.append(
            {
                "name": node.name,
                "ready": ready.get(node.name, False),
                "fault": fault,
                "address": cluster.address(node),
                "pods": cluster.pods_of(node),
                "home": str(cluster.home(node)),
            }
        )
    return described


def describe(cluster: Cluster) -> dict[str, Any]:
    """Gather everything `lab status` knows."""
    version = get_json(cluster, "/version") or {}
    carrier = service_route_node(cluster)
    starts = json.loads(completion(cluster).read_text()) if is_complete(cluster) else {}
    processes = processes_of_cluster(cluster)
    return {
        "name": cluster.name,
        "complete": is_complete(cluster),
        "ready": is_ready(cluster),
        "api": f"https://{cluster.api}",
        "version": version.get("gitVersion", ""),
        "services": cluster.service_range,
        "services_through": carrier.name if carrier else "",
        "dns": cluster.dns_service,
        "pods": cluster.pod_range,
        "directory": str(cluster.directory),
        "logs": str(cluster.logs),
        "nodes": describe_nodes(cluster),
        "processes": processes,
        "trouble": {
            log.name.removesuffix(".log"): lines
            for log in sorted(cluster.logs.glob("*.log"))
            if (lines := trouble_in(log, starts.get(log.name, 0)))
        },
    }


def is_well(status: dict[str, Any]) -> bool:
    """Tell whether all is as it should be."""
    nodes, processes = status["nodes"], status["processes"]
    return bool(
        status["complete"]
        and status["ready"]
        and all(node["ready"] and not node["fault"] for node in nodes)
        and all(process["state"] == "running" for process in processes)
    )


def way_back(cluster: str, node: dict[str, Any]) -> str:
    """The command that mends a node that was broken on purpose."""
    mend = "restart" if node["fault"] == CRASHED else "heal"
    return f"lab node {mend} {node['name']} --name {cluster}"


def render(status: dict[str, Any]) -> str:
    """Write the status for a person."""
    verdict = "well" if is_well(status) else "NOT WELL"
    lines = [
        f"cluster   {status['name']} ({verdict}), Kubernetes {status['version'] or 'does not answer'}",
        f"API       {status['api']}",
        f"services  {status['services']} from this machine, through {status['services_through'] or 'no node'}",
        f"names     dig @{status['dns']} SERVICE.NAMESPACE.svc.cluster.local",
        f"logs      {status['logs']}",
        "",
    ]
    for node in status["nodes"]:
        state = "Ready" if node["ready"] else "NotReady"
        fault = f"{node['fault']}; back: {way_back(status['name'], node)}" if node["fault"] else ""
        line = f"{node['name']:<10}{state:<10}{node['address']:<15}pods {node['pods']:<17}{fault}"
        lines.append(line.rstrip())
    lines.append("")
    for process in status["processes"]:
        restarts = f"  restarts {process['restarts']} (last: {process['last_exit']})" if process["restarts"] else ""
        lines.append(f"{process['name']:<26}{process['state']:<9}{restarts}".rstrip())
    if not status["processes"]:
        lines.append(standstill(status["name"]))
    trouble_now = {} if is_well(status) else status["trouble"]
    for component, trouble in trouble_now.items():
        lines += ["", f"{component}:", *(f"  {line[:180]}" for line in trouble)]
    return "\n".join(lines)

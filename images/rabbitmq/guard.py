"""Starts a RabbitMQ node; only a first bootstrap may form a cluster, everybody else joins the one that is there.

A node that holds data starts at once: its cluster is in its data. An empty one must not decide by whom it
happens to reach. Node 0 forms the cluster when every other node says that it is empty too; the others wait
for a running node. A node 0 whose volume was lost is an empty one like any other: it joins.
"""

import base64
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from enum import Enum
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

GUARD_PORT = 15690  # answered only while a node waits: "I am empty"
AMQP_PORT = 5672
MANAGEMENT_PORT = 15672
TIMEOUT_SECONDS = 1.0
GREETING = b"AMQP\x00\x00\x09\x01"  # AMQP 0-9-1, 4.2.2: a server that is well answers with a frame of its own

log = logging.getLogger("guard")


class Peer(Enum):
    """What another node is, seen from here."""

    RUNS = "runs"
    EMPTY = "is empty and waits"
    SILENT = "does not answer"


def nodes_to_form_with(ordinal: int, me: str, peers: Mapping[str, Peer]) -> list[str] | None:
    """The nodes that RabbitMQ may choose from at its first start; None: wait.

    With another node in the list RabbitMQ never starts alone (it retries for ever), and it prefers the larger
    and older cluster. With itself alone it forms a new one.
    """
    running = [peer for peer, what in peers.items() if what is Peer.RUNS]
    if running:
        return [me, running[0]]
    if ordinal == 0 and all(what is Peer.EMPTY for what in peers.values()):
        return [me]
    return None


def look(host: str) -> Peer:
    """What the node on this host is. A frozen one still takes connections: one that runs says something, too."""
    try:
        with socket.create_connection((host, AMQP_PORT), TIMEOUT_SECONDS) as line:
            line.sendall(GREETING)
            if line.recv(1):
                return Peer.RUNS
    except OSError:
        pass
    try:
        with urllib.request.urlopen(f"http://{host}:{GUARD_PORT}/", timeout=TIMEOUT_SECONDS) as answer:
            return Peer.EMPTY if json.load(answer) == {"empty": True} else Peer.SILENT
    except (OSError, HTTPException, ValueError):
        return Peer.SILENT


def say_empty() -> Callable[[], None]:
    """Tell the others that this node is empty and waits; returns the way to stop."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            """Say it."""
            body = json.dumps({"empty": True}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not worth a line."""

    server = ThreadingHTTPServer(("", GUARD_PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def close() -> None:
        server.shutdown()
        server.server_close()

    return close


def wait_to_form(ordinal: int, me: str, others: Mapping[str, str]) -> list[str]:
    """Look at the others (node name -> host) until this empty node may start."""
    close, said = say_empty(), ""
    while True:
        peers = {node: look(host) for node, host in others.items()}
        nodes = nodes_to_form_with(ordinal, me, peers)
        if nodes is not None:
            close()
            log.info("starting with %s", ", ".join(nodes))
            return nodes
        now = ", ".join(f"{node} {what.value}" for node, what in peers.items())
        if now != said:
            log.info("this node is empty and waits: %s", now)
            said = now
        time.sleep(1.0)


def lists_me(host: str, me: str, username: str, password: str) -> bool:
    """Whether a running node counts this one as a member; True also where it does not say."""
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    request = urllib.request.Request(f"http://{host}:{MANAGEMENT_PORT}/api/nodes?columns=name")
    request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return me in [node["name"] for node in json.load(answer)]
    except (OSError, HTTPException, ValueError, KeyError):
        return True


def leave_old_membership(peer: str, me: str) -> None:
    """Have the cluster forget the node that this one was before its volume was lost, or it refuses the new one.

    The copies of queues that it held are grown again by RabbitMQ's membership reconciliation.
    """
    log.info("asking %s to forget what %s was", peer, me)
    command = ["rabbitmqctl", "--node", peer, "forget_cluster_node", me]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    log.info("%s", (done.stderr or done.stdout).strip().splitlines()[-1:])


def own_configuration(nodes: list[str], username: str, password: str) -> str:
    """The part of rabbitmq.conf that is this node's own, or secret."""
    lines = [
        "cluster_formation.peer_discovery_backend = classic_config",
        *(f"cluster_formation.classic_config.nodes.{number} = {node}" for number, node in enumerate(nodes, 1)),
        f"default_user = {username}",
        f"default_pass = {password}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write what RabbitMQ needs to know, wait until it may start, become it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s guard: %(message)s", stream=sys.stdout)
    pod, domain, size = os.environ["POD_NAME"], os.environ["PEER_DOMAIN"], int(os.environ["CLUSTER_SIZE"])
    name, ordinal = pod.rsplit("-", 1)
    hosts = {f"rabbit@{name}-{number}.{domain}": f"{name}-{number}.{domain}" for number in range(size)}
    me = os.environ["RABBITMQ_NODENAME"]
    others = {node: host for node, host in hosts.items() if node != me}
    home, conf_dir = Path(os.environ["HOME"]), Path(os.environ["RABBITMQ_CONFIG_FILES"])

    cookie = home / ".erlang.cookie"
    cookie.unlink(missing_ok=True)
    cookie.touch(mode=0o600)
    cookie.write_text(os.environ["ERLANG_COOKIE"])

    # schema.DAT is what makes RabbitMQ itself call a node not virgin.
    holds_data = (home / "mnesia" / me / "schema.DAT").exists()
    user, password = os.environ["DEFAULT_USER"], os.environ["DEFAULT_PASS"]
    nodes = list(hosts) if holds_data else wait_to_form(int(ordinal), me, others)
    for peer in nodes:
        if not holds_data and peer != me and lists_me(hosts[peer], me, user, password):
            leave_old_membership(peer, me)
    conf_dir.mkdir(parents=True, exist_ok=True)
    own = conf_dir / "20-own.conf"
    own.touch(mode=0o600)
    own.write_text(own_configuration(nodes, user, password))
    environment = dict(os.environ)
    for secret in ("ERLANG_COOKIE", "DEFAULT_PASS"):
        del environment[secret]
    os.execvpe("rabbitmq-server", ["rabbitmq-server"], environment)  # noqa: S606


if __name__ == "__main__":
    main()

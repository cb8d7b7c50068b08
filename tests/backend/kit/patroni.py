"""Members of a stack's database: real Patroni and PostgreSQL from the image, a bare API server as their store."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from signal import SIGSTOP
from typing import TYPE_CHECKING, Any

import httpx
import psycopg

from appstack_operator.api import AppStack
from appstack_operator.desired.postgres import build_dynamic_configuration, build_patroni_configuration, scope
from appstack_operator.objects import ROLE_LABEL
from tests.backend.kit.processes import descendants
from tests.backend.kit.rootfs import Box, Server, free_port
from tests.backend.kit.servers import PASSWORD, PATH, POSTGRES_USER

if TYPE_CHECKING:
    import signal

    from tests.apiserver.kit.server import BareCluster

DATA = "/var/lib/postgresql/data/pgdata"
PATRONI = "/usr/local/lib/appstack/patroni_keeping_its_lock.py"
# As little WAL as a primary can keep, and no disk to wait for.
SETTINGS = {
    "wal_keep_size": "32MB",
    "max_slot_wal_keep_size": "64MB",
    "max_wal_size": "1GB",  # no checkpoint but those that are asked for
    "min_wal_size": "32MB",
    "shared_buffers": "64MB",
    "fsync": "off",
}
# What the member's first process starts beside Patroni, without the parts that need a pod's fixed ports.
AGENT = """
import sys
sys.path.insert(0, "/usr/local/lib/appstack")
import ask_fresh_copy, patroni_api
patroni_api.PORT = int(sys.argv[2])
ask_fresh_copy.main(sys.argv[1], lambda text: print("agent:", text, flush=True))
"""


class Members:
    """The namespace of one stack, and what its operator would have written there."""

    def __init__(self, cluster: BareCluster, namespace: str) -> None:
        metadata = {"name": "shop", "namespace": namespace, "uid": "1", "generation": 1}
        self.cluster, self.stack = cluster, AppStack.model_validate({"metadata": metadata, "spec": {}})
        self.pods = f"/api/v1/namespaces/{namespace}/pods"
        self.api = cluster.api  # where members find the API server; another door may be put before it
        self.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
        # No controller makes it, and no pod is admitted without.
        self.create(f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}})
        config = build_dynamic_configuration(self.stack)
        dynamic = json.loads(config["metadata"]["annotations"]["config"])
        dynamic["postgresql"]["parameters"] |= SETTINGS
        dynamic["postgresql"]["pg_ctl_timeout"] = 10  # seconds (60): until Patroni looks again at one that cannot start
        config["metadata"]["annotations"]["config"] = json.dumps(dynamic)
        config["metadata"].pop("ownerReferences", None)
        self.create(f"/api/v1/namespaces/{namespace}/configmaps", config)

    def labelled(self, role: str) -> set[str]:
        """The members whose pods bear that role, as the Services select them."""
        with self.cluster.client() as client:
            pods = client.get(self.pods, params={"labelSelector": f"{ROLE_LABEL}={role}"}).raise_for_status().json()
        return {pod["metadata"]["name"] for pod in pods["items"]}

    def end(self, name: str) -> None:
        """Delete a member's pod, which stays while it ends: nobody takes the finalizer off it."""
        with self.cluster.client() as client:
            held = {"metadata": {"finalizers": ["appstack.dev/test"]}}
            merge = {"Content-Type": "application/merge-patch+json"}
            client.patch(f"{self.pods}/{name}", json=held, headers=merge).raise_for_status()
            client.delete(f"{self.pods}/{name}").raise_for_status()

    def create(self, collection: str, obj: dict[str, Any]) -> None:
        with self.cluster.client() as client:
            client.post(collection, json=obj).raise_for_status()


class Member:
    """One member; it may be stopped and started again."""

    def __init__(self, members: Members, number: int, folder: Path) -> None:
        self._members, self.name = members, f"{scope(members.stack)}-{number}"
        self._box = Box("postgres", POSTGRES_USER, folder)
        self._server: Server | None = None
        self.port, self.rest_port = free_port(), free_port()
        self.dsn = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        namespace = members.stack.namespace
        self._box.write("patroni.yml", build_patroni_configuration(members.stack))
        account = folder / "upper" / "run" / "secrets" / "kubernetes.io" / "serviceaccount"
        account.mkdir(parents=True)
        (account / "ca.crt").write_bytes((members.cluster.pki / "ca.crt").read_bytes())
        (account / "token").write_text("admin")
        (account / "namespace").write_text(namespace)
        for path in folder.joinpath("upper").rglob("*"):
            path.chmod(0o755)
        labels = {"appstack.dev/patroni": scope(members.stack)}
        container = {"name": "postgres", "image": "postgres"}
        pod = {"metadata": {"name": self.name, "labels": labels}, "spec": {"containers": [container]}}
        members.create(members.pods, pod)

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._box.folder / "log").read_text(errors="replace")

    def environment(self) -> dict[str, str]:
        """What its pod would find."""
        host, _, port = self._members.api.partition(":")
        return {
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "POD_NAME": self.name,
            "PATRONI_NAME": self.name,
            "PATRONI_SCOPE": scope(self._members.stack),
            "PATRONI_KUBERNETES_POD_IP": "127.0.0.1",
            "PATRONI_RESTAPI_LISTEN": f"127.0.0.1:{self.rest_port}",
            "PATRONI_RESTAPI_CONNECT_ADDRESS": f"127.0.0.1:{self.rest_port}",
            "PATRONI_POSTGRESQL_LISTEN": f"127.0.0.1:{self.port}",
            "PATRONI_POSTGRESQL_CONNECT_ADDRESS": f"127.0.0.1:{self.port}",
            "PATRONI_POSTGRESQL_PGPASS": "/scratch/pgpass",
            "PATRONI_SUPERUSER_USERNAME": "postgres",
            "PATRONI_SUPERUSER_PASSWORD": PASSWORD,
            "PATRONI_REPLICATION_USERNAME": "replicator",
            "PATRONI_REPLICATION_PASSWORD": PASSWORD,
            "PATRONI_RESTAPI_USERNAME": "patroni",
            "PATRONI_RESTAPI_PASSWORD": PASSWORD,
            "APP_USERNAME": "app",
            "APP_PASSWORD": PASSWORD,
            "APP_DATABASE": "app",
        }

    def start(self, *, with_agent: bool = True) -> None:
        """Start Patroni, and the agent beside it."""
        given = [f"{name}={value}" for name, value in self.environment().items()]
        beside = 'python3 -c "$1" "$2" "$3" &' if with_agent else ""
        script = f"{beside} exec {PATRONI} /scratch/patroni.yml"
        arguments = (AGENT, self.name, str(self.rest_port))
        self._server = self._box.start("env", PATH, *given, "sh", "-c", script, "sh", *arguments)

    def execute(self, *statements: str) -> None:
        """Statements of its superuser, each a transaction of its own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def signal(self, title: str, number: signal.Signals) -> None:
        """Send a signal to one process of its server, named by its part in it."""
        assert self._server is not None
        found = [pid for pid in descendants(self._server.process.pid) if title in title_of(pid)]
        assert len(found) == 1, f"{len(found)} processes are called {title}"
        os.kill(found[0], number)

    def freeze(self) -> None:
        """Stop all of its processes where they are; its machine still accepts connections."""
        assert self._server is not None
        for pid in descendants(self._server.process.pid):
            os.kill(pid, SIGSTOP)

    def run(self, *words: str) -> str:
        """Run something beside Patroni to its successful end, as `kubectl exec` does; what it printed."""
        assert self._server is not None
        patroni = next(pid for pid in descendants(self._server.process.pid) if f"{PATRONI}\0" in title_of(pid))
        user = str(POSTGRES_USER)
        enter = ["nsenter", "--target", str(patroni), "--mount", "--pid", "--root", "--setuid", user, "--setgid", user]
        given = [f"{name}={value}" for name, value in self.environment().items()]
        command = [*enter, "env", "-i", PATH, *given, *words]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def stop(self) -> None:
        """As a lost machine does it."""
        if self._server is not None:
            self._server.stop()
            self._server = None
            pid_file = self._box.folder / "upper" / DATA.lstrip("/") / "postmaster.pid"
            pid_file.unlink(missing_ok=True)  # names a process of a namespace that is gone

    def states(self) -> dict[str, str]:
        """Name -> state of every member that Patroni tells of; empty while it does not answer."""
        try:
            cluster = httpx.get(f"http://127.0.0.1:{self.rest_port}/cluster", timeout=5).json()
        except httpx.HTTPError:
            return {}
        return {member["name"]: f"{member['role']} {member['state']}" for member in cluster["members"]}


def title_of(pid: int) -> str:
    """What a process calls itself; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""

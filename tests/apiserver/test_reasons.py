"""Every reason of a condition is provoked once, its message names the object, and its runbook's commands work then.

What kubelet, controllers and services would say is written; the operator's passes are real, the API server is too.
Nothing answers on the nodes: `kubectl logs` and `exec` end where the API server, having found the pod, looks for it.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from appstack_lab.binaries import bin_directory
from appstack_operator import converge
from appstack_operator.assess.verdict import Reason
from appstack_operator.kinds import BY_NAME
from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.stage import NODES, Clock, staging
from tests.apiserver.kit.troubles import (
    NOT_READY,
    SPEC,
    a_deletion,
    a_failed_migration,
    a_failed_run,
    a_foreign_service,
    a_partition,
    a_password_that_is_refused,
    a_quota,
    a_refused_parameter,
    a_running_migration,
    a_shared_node,
    a_silence,
    a_volume_that_cannot_grow,
    an_api_scaled_to_nothing,
    an_autoscaler_without_metrics,
    an_older_crd,
    answered,
    later,
    made,
    nothing,
    told,
    waiting,
    wished,
    with_redis_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage
    from tests.apiserver.kit.troubles import Trouble

ROOT = Path(__file__).parents[2]
HOME = "reasons-home"
# What the API server says once it knows the pod and its container: the rest would be the node's.
NODE_IS_ASKED = ("no preferred addresses found", "does not have a host assigned")


@dataclass(frozen=True, slots=True)
class Case:
    """How a reason comes about, and where it shows."""

    condition: str
    names: str  # the object in the message, and what the runbook's POD, JOB, DEPLOYMENT or OBJECT stands for
    trouble: Trouble
    is_new: bool = False  # the trouble makes a stack of its own
    status: str = "False"
    kind: str = ""
    finds_nothing: bool = False  # a command of the runbook has nothing to show
    because: str = ""  # also in the message: the last words of what failed


API = f"{NAME}-api"
POD = f"{API}-0"
NO_NODE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
STUCK = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
OWN = {"backend": {"image": "shop:1"}}
CRASHED = {"terminated": {"exitCode": 1, "reason": "Error", "message": "no such module"}}
ENDED = {"lastState": CRASHED}
R = Reason
CASES = {
    R.HEALTHY: Case("PostgresReady", f"{NAME}-postgres-0", nothing, status="True"),
    R.NOT_DECLARED: Case("WorkersReady", "workers", made(OWN), is_new=True, status="True"),
    R.SINGLE_INSTANCE: Case(
        "HighlyAvailable", "api", wished({"backend": {"api": {"replicas": 1}}}, {"backend": {"api": {"replicas": 2}}})
    ),
    R.CREATING: Case("PostgresReady", f"StatefulSet {NAME}-postgres", made({}), is_new=True, finds_nothing=True),
    R.ROLLOUT_IN_PROGRESS: Case(
        "APIReady", f"Deployment {API}", told("Deployment", API, updatedReplicas=1), status="True"
    ),
    R.MIGRATION_PENDING: Case("MigrationsApplied", f"{NAME}-migrate-", made(SPEC), is_new=True, finds_nothing=True),
    R.MIGRATION_RUNNING: Case("MigrationsApplied", f"{NAME}-migrate-", a_running_migration, is_new=True),
    R.MIGRATION_FAILED: Case(
        "MigrationsApplied", f"{NAME}-migrate-", a_failed_migration, is_new=True, because="column price exists"
    ),
    R.PAUSED: Case("Ready", "spec.paused", wished({"paused": True}, {"paused": False}), status="True"),
    R.DELETING: Case("Ready", "PostgreSQL's pods", a_deletion, is_new=True),
    R.IMAGE_PULL_FAILED: Case("APIReady", POD, waiting(POD, "ImagePullBackOff", "not found")),
    R.CRASH_LOOPING: Case("APIReady", POD, waiting(POD, "CrashLoopBackOff", "back-off", **ENDED)),
    R.POD_UNSCHEDULABLE: Case("APIReady", POD, told("Pod", POD, conditions=[NOT_READY, NO_NODE])),
    R.POD_REFUSED: Case("APIReady", f"Deployment {API}", a_quota),
    R.VOLUME_PENDING: Case(
        "PostgresReady",
        f"data-{NAME}-postgres-1",
        later(told("Pod", f"{NAME}-postgres-1", conditions=[NOT_READY]), minutes=3),
        finds_nothing=True,
    ),
    R.REPLICA_MISSING: Case("APIReady", POD, told("Pod", POD, conditions=[NOT_READY])),
    R.ROLLOUT_STUCK: Case(  # a spec that was changed just now has that time still before it
        "APIReady", API, later(told("Deployment", API, conditions=[STUCK], observedGeneration=1000), minutes=6)
    ),
    R.SHARED_NODE: Case("HighlyAvailable", NODES[0], a_shared_node),
    R.NO_PRIMARY: Case("PostgresReady", f"{NAME}-postgres-0", answered(f"{NAME}-postgres-0", role="replica")),
    R.NO_SYNC_STANDBY: Case("PostgresReady", "replica", answered(f"{NAME}-postgres-1", sync_standby=False)),
    R.REPLICA_LAGGING: Case(
        "PostgresReady", f"{NAME}-postgres-1", answered(f"{NAME}-postgres-1", replication_state="starting")
    ),
    R.PARAMETER_REFUSED: Case("PostgresReady", "spec.postgres.parameters.work_mem", a_refused_parameter),
    R.MASTER_DISPUTED: Case("RedisReady", "192.0.2.9", answered(f"{NAME}-redis-sentinel-1", ip="192.0.2.9")),
    R.NO_SENTINEL_QUORUM: Case(
        "RedisReady", f"{NAME}-redis-sentinel-0", answered(f"{NAME}-redis-sentinel-0", **{"no-quorum": "alone"})
    ),
    R.QUORUM_LOST: Case(
        "RabbitMQReady", f"{NAME}-rabbitmq-2", answered(f"{NAME}-rabbitmq-1", f"{NAME}-rabbitmq-2", running=False)
    ),
    R.PARTITION_DETECTED: Case("RabbitMQReady", f"{NAME}-rabbitmq-0", a_partition),
    R.PUBLISHERS_BLOCKED: Case("RabbitMQReady", f"{NAME}-rabbitmq-1", answered(f"{NAME}-rabbitmq-1", mem_alarm=True)),
    R.BACKLOG_UNREADABLE: Case("WorkersReady", "pool bulk", a_password_that_is_refused),
    R.USAGE_UNREADABLE: Case(
        "APIReady", f"HorizontalPodAutoscaler {API}", an_autoscaler_without_metrics, because="unable to fetch metrics"
    ),
    R.SECRET_MISSING: Case("RedisReady", "Secret theirs", with_redis_of("theirs"), is_new=True, finds_nothing=True),
    R.SECRET_INVALID: Case("RedisReady", "Secret theirs", with_redis_of("theirs", REDIS_URL="nowhere"), is_new=True),
    R.CONFIG_MAP_MISSING: Case(
        "APIReady",
        POD,
        waiting(POD, "CreateContainerConfigError", 'configmap "theirs" not found'),
        because='configmap "theirs" not found',
    ),
    R.EXTERNAL_UNREACHABLE: Case(
        "RedisReady", "Secret theirs", with_redis_of("theirs", REDIS_URL="redis://127.0.0.1:1/0"), is_new=True
    ),
    R.FOREIGN_OBJECT: Case("RedisReady", f"{NAME}-redis-0", a_foreign_service, is_new=True, kind="service"),
    R.SPEC_INVALID: Case("Stalled", "spec.backend.api.replicas", an_older_crd, is_new=True, status="True"),
    R.APPLY_REFUSED: Case("PostgresReady", f"data-{NAME}-postgres-0", a_volume_that_cannot_grow, is_new=True),
    R.CRON_JOB_FAILED: Case("CronJobsReady", f"{NAME}-nightly-1", a_failed_run, because="no such table"),
    R.CRON_JOB_MISSED: Case("CronJobsReady", f"CronJob {NAME}-nightly", later(days=2)),
    R.PODS_UNREACHABLE: Case("Ready", f"{NAME}-postgres-0", a_silence, status="Unknown"),
    R.STATE_UNKNOWN: Case("Ready", "APIReady", an_api_scaled_to_nothing),
}


def test_every_reason_has_a_case() -> None:
    assert CASES.keys() == set(Reason)


@pytest.fixture(scope="module")
async def shop(world: World, api: Api) -> AsyncIterator[Stage]:
    """A stack with which all is well, on three nodes, and the operator's own namespace."""
    async with staging(world, api, "reasons") as stage:
        for node in NODES:
            await stage.ask("POST", "/api/v1/nodes", json={"metadata": {"name": node}})
        await make_operator(stage)
        await stage.make_stack(SPEC)
        await stage.reach_health()
        await stage.settle_on_nodes()
        yield stage
        for node in NODES:
            await stage.ask("DELETE", f"/api/v1/nodes/{node}")


async def make_operator(stage: Stage) -> None:
    """The operator's Deployment and its pod, as the chart names them."""
    labels = {"app.kubernetes.io/name": "appstack-operator"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "operator", "image": "operator:1"}]}}
    await stage.ask("POST", "/api/v1/namespaces", json={"metadata": {"name": HOME}})
    account = {"metadata": {"name": "default"}}
    await stage.ask("POST", f"/api/v1/namespaces/{HOME}/serviceaccounts", json=account)
    deployment = {"metadata": {"name": "appstack-operator"}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    await stage.ask("POST", BY_NAME["Deployment"].path(HOME), json={**deployment, "spec": spec})
    named = {**pod, "metadata": {"name": "appstack-operator-0", "labels": labels}}
    await stage.ask("POST", BY_NAME["Pod"].path(HOME), json=named)


@pytest.mark.parametrize("reason", CASES)
async def test_a_reason_shows_with_its_object_and_its_runbook_works(
    world: World,
    shop: Stage,
    api: Api,
    reason: Reason,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    case = CASES[reason]
    monkeypatch.setattr(converge, "datetime", Clock)
    if not case.is_new:
        await show(world, shop, reason, case)
        assert ("nobody serves although" in caplog.text) == (reason is R.STATE_UNKNOWN)
        return
    async with staging(world, api, f"reason-{reason.value.lower()}") as stage:
        await show(world, stage, reason, case)


async def show(world: World, stage: Stage, reason: Reason, case: Case) -> None:
    """Provoke it, read the condition, run the commands."""
    async with case.trouble(stage):
        conditions = await stage.look()
        told = conditions[case.condition]
        assert (told["status"], told["reason"]) == (case.status, reason.value), told["message"]
        assert case.names in told["message"]
        assert case.because in told["message"]
        commands = list(commands_of(reason))
        assert commands, "the runbook says how to look"
        results = await asyncio.gather(*(run(world, stage, case, command) for command in commands))
    assert [said for said in results if said] == []


def commands_of(reason: Reason) -> Iterator[str]:
    """The commands under `How to look`."""
    text = (ROOT / "docs" / "runbooks" / f"{reason.value}.md").read_text()
    (block,) = re.findall(r"## How to look\n```sh\n(.*?)```", text, re.DOTALL)
    yield from block.strip().splitlines()


async def run(world: World, stage: Stage, case: Case, command: str) -> str:
    """Run a command of a runbook with names put in; what is wrong with it."""
    name = case.names.split()[-1]
    values = {"NAMESPACE": stage.namespace, "NAME": NAME, "KIND": case.kind}
    values |= dict.fromkeys(("POD", "JOB", "DEPLOYMENT", "OBJECT"), name)
    line = re.sub(r"\b(NAMESPACE|NAME|KIND|POD|JOB|DEPLOYMENT|OBJECT)\b", lambda found: values[found[0]], command)
    line = line.replace("-n appstack-system", f"-n {HOME}")  # that namespace is for other tests
    # What goes on until it is stopped, once.
    line = re.sub(r" -[fw]$", "", line).replace("rollout status", "rollout status --watch=false")
    environment = {**os.environ, "KUBECONFIG": str(world.folder / "admin.kubeconfig")}
    environment |= {"PATH": f"{bin_directory()}:{os.environ['PATH']}", "KUBECACHEDIR": str(world.folder / "kubecache")}
    process = await asyncio.create_subprocess_exec(
        "bash", "-o", "pipefail", "-c", line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = (each.decode() for each in await process.communicate())
    asks_node = re.match(r"kubectl (logs|exec) ", line) and any(words in err for words in NODE_IS_ASKED)
    if process.returncode and not asks_node:
        return f"{line}: {err}"
    if "No resources found" in err and not case.finds_nothing:
        return f"{line} found nothing"
    # Of a pod without a node the API server gives an empty log.
    return "" if out or asks_node or "kubectl logs" in line or case.finds_nothing else f"{line} said nothing"

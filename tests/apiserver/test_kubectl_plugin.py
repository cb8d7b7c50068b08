"""kubectl appstack plan and status, against a real API server with a converged stack."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from appstack_lab.binaries import bin_directory
from appstack_operator.kinds import BY_NAME, CHILDREN, EVENT, LEASE, STACK
from appstack_operator.plugin.commands import EXIT_CODES
from tests.apiserver.kit.cast import MERGE
from tests.apiserver.kit.life import NAME, SPEC, Life, World, living
from tests.apiserver.kit.operator import IMAGES
from tests.apiserver.kit.plugin import Outcome, Plugin, kept, run_with, steady, write_kubeconfig
from tests.apiserver.kit.snapshot import passwords

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.apiserver.kit.server import BareCluster

NAMESPACE = "plugin"
HOME = "home-of-the-operator"


@pytest.fixture(scope="module")
async def shop(world: World) -> AsyncIterator[Life]:
    """A converged stack; its operator has ended, its Deployment says which images are bundled."""
    async with living(world, NAMESPACE) as life:
        await life.ask("POST", "/api/v1/namespaces", json={"metadata": {"name": HOME}})
        await life.ask("POST", BY_NAME["Deployment"].path(HOME), json=build_operator_deployment())
        await life.create()
        await life.undisturbed(life.is_ready)
        yield life


def build_operator_deployment() -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "appstack-operator"}
    env = [{"name": name, "value": value} for name, value in IMAGES.items()]
    pod = {"containers": [{"name": "operator", "image": "operator:1", "env": env}]}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return {"metadata": {"name": "appstack-operator", "labels": labels}, "spec": {"replicas": 0, **spec}}


@pytest.fixture(scope="module")
def plugin(cluster: BareCluster, folder: Path) -> Plugin:
    return Plugin(write_kubeconfig(cluster, folder / "plugin.kubeconfig", NAMESPACE))


def a_manifest(name: str = NAME, **changes: Any) -> dict[str, Any]:
    """The manifest of the converged stack with other parts of the spec."""
    spec = {**copy.deepcopy(SPEC), **changes}
    return {"apiVersion": STACK.api_version, "kind": STACK.name, "metadata": {"name": name}, "spec": spec}


async def plan(plugin: Plugin, manifest: dict[str, Any], *words: str) -> Outcome:
    return await plugin.plan(manifest, "--operator-namespace", HOME, *words)


async def versions(life: Life) -> dict[str, str]:
    """Every object of the namespace with its version: any write would change one."""
    found = [obj for kind in (*CHILDREN, STACK) for obj in await life.cast.list(kind)]
    return {f"{obj['kind']} {obj['metadata']['name']}": obj["metadata"]["resourceVersion"] for obj in found}


async def test_an_unchanged_manifest_leaves_nothing_to_do(shop: Life, plugin: Plugin) -> None:
    outcome = await plan(plugin, a_manifest())
    assert (outcome.code, outcome.out, outcome.err) == (0, "AppStack plugin/shop: nothing to do\n", "")


CHANGES: dict[str, tuple[int, dict[str, Any]]] = {
    "new-image": (2, {"backend": {**SPEC["backend"], "image": "shop:2"}}),
    "parameter": (2, {"postgres": {"instances": 1, "parameters": {"work_mem": "8MB"}}}),
    "memory-of-postgres": (3, {"postgres": {"instances": 1, "resources": {"limits": {"memory": "2Gi"}}}}),
    "no-cron-jobs": (3, {"cronJobs": []}),
    "autoscaling": (
        2,
        {
            "backend": {
                **SPEC["backend"],
                "api": {"autoscaling": {"maxReplicas": 4}},
                "workers": [{"name": "bulk", "queues": ["bulk"], "replicas": 3, "env": [{"name": "A", "value": "1"}]}],
            }
        },
    ),
    "paused": (0, {"paused": True, "backend": {**SPEC["backend"], "image": "shop:2"}}),
    "missing-secret": (3, {"redis": {"mode": "External", "external": {"secretName": "not-there"}}}),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_plan_reads_well(shop: Life, plugin: Plugin, name: str) -> None:
    code, change = CHANGES[name]
    before = await versions(shop)
    outcome = await plan(plugin, a_manifest(**change))
    assert steady(outcome.out) == kept(f"plan-{name}", steady(outcome.out))
    assert (outcome.code, outcome.err) == (code, "")
    assert await versions(shop) == before, "a plan must write nothing"


async def test_a_new_stack_is_planned_as_a_whole(shop: Life, plugin: Plugin) -> None:
    before = await versions(shop)
    outcome = await plan(plugin, a_manifest("other", backend={}, cronJobs=None, redis={}, rabbitmq={}))
    assert outcome.out.startswith("AppStack plugin/other is new: ")
    assert outcome.code == 2
    for name in ("StatefulSet other-redis ", "Deployment other-worker-bulk ", "CronJob other-purge-expired "):
        assert f"+ {name}" in outcome.out
    assert await versions(shop) == before


async def test_what_is_planned_is_what_the_operator_does(shop: Life, plugin: Plugin) -> None:
    """The forecast of a change, and the writes of the operator once it was made, name the same objects."""
    backend = {**SPEC["backend"], "image": "shop:3"}
    manifest = a_manifest(backend=backend, cronJobs=[{"name": "weekly", "schedule": "@weekly"}])
    actions = json.loads((await plan(plugin, manifest, "-o", "json")).out)["stacks"][0]["actions"]
    patch = {"spec": {**manifest["spec"]}}
    await shop.ask("PATCH", STACK.path(NAMESPACE, NAME), json=patch, headers=MERGE)
    writes = await shop.undisturbed(shop.is_ready)
    done = {path_of(write) for write in writes if not is_report(write)}
    assert done == {written_by(each) for each in actions}
    assert (await plan(plugin, manifest)).code == 0
    await shop.ask("PATCH", STACK.path(NAMESPACE, NAME), json={"spec": SPEC}, headers=MERGE)
    await shop.undisturbed(shop.is_ready)


def is_report(write: str) -> bool:
    return write.endswith(("/events", "/status", f"/appstacks/{NAME}"))


def path_of(write: str) -> str:
    """METHOD /apis/…/namespaces/NS/PLURAL[/NAME] -> PLURAL[/NAME]."""
    return write.partition(f"/namespaces/{NAMESPACE}/")[2]


def written_by(action: dict[str, Any]) -> str:
    """The path that an action writes to; a POST names no object."""
    plural = BY_NAME[action["kind"]].plural
    return plural if action["verb"] == "create" else f"{plural}/{action['name']}"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a rule": ({"redis": {**SPEC["redis"], "replicas": 2}}, "  spec.redis.replicas: replicas must be 1 or 3 to 5"),
    "a change that no volume can take": ({"postgres": {"instances": 1, "storage": {"size": "1Gi"}}}, "cannot shrink"),
    "an immutable mode": ({"redis": {"mode": "Managed"}}, "mode cannot change"),
    "an owned parameter": ({"postgres": {"parameters": {"fsync": "off"}}}, "parameters.fsync is the operator's"),
    "a misspelt field": ({"postgers": {}}, 'unknown field "spec.postgers"'),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refused_manifest_is_told_field_by_field(shop: Life, plugin: Plugin, name: str) -> None:
    change, sentence = REFUSED[name]
    outcome = await plan(plugin, a_manifest(**change))
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: AppStack shop")
    assert sentence in outcome.err


ERRORS = {
    "no such file": (["plan", "-f", "/nowhere.yaml"], "", "/nowhere.yaml: no such file"),
    "invalid YAML": (["plan", "-f", "-"], "a: [", "standard input is not valid YAML: "),
    "empty input": (["plan", "-f", "-"], "", "no AppStack in it"),
    "other kinds only": (
        ["plan", "-f", "-"],
        "kind: Secret\nmetadata: {name: a}",
        "no AppStack in it; it holds Secret a",
    ),
    "no object": (["plan", "-f", "-"], "[1, 2]", "not a Kubernetes object"),
    "another version": (["plan", "-f", "-"], "kind: AppStack\napiVersion: v1", "must be appstack.dev/v1alpha1"),
    "no name": (["plan", "-f", "-"], "kind: AppStack\napiVersion: appstack.dev/v1alpha1", "metadata.name is missing"),
    "no such stack": (["status", "shap"], "", "no AppStack shap in namespace plugin; there are: shop"),
    "no stacks there": (["status", "shop", "-n", "default"], "", "there is none (another namespace? -n)"),
    "no such context": (["status", "shop", "--context", "x"], "", "x"),
    "no command": ([], "", "usage: kubectl appstack"),
    "an unknown option": (["status", "shop", "--wide"], "", "unrecognized arguments: --wide"),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_says_what_to_do(shop: Life, plugin: Plugin, name: str) -> None:
    words, stdin, sentence = ERRORS[name]
    options = ["--kubeconfig", str(plugin.kubeconfig)] if words else []
    outcome = await run_with([*words, *options], stdin)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ")
    assert sentence in outcome.err


async def test_without_a_kubeconfig_one_is_asked_for(plugin: Plugin) -> None:
    outcome = await Plugin(plugin.kubeconfig.with_name("missing")).run("status", NAME)
    assert outcome.code == 1
    assert "set KUBECONFIG or give --kubeconfig" in outcome.err


async def test_several_documents_are_planned_one_by_one(shop: Life, plugin: Plugin) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "our-redis"}}
    two = [a_manifest(), secret, a_manifest("two", cronJobs=[])]
    outcome = await plugin.run("plan", "-f", "-", "--operator-namespace", HOME, stdin=yaml.safe_dump_all(two))
    assert outcome.code == 2
    assert outcome.err == "not looked at: Secret our-redis\n"
    headlines = [line for line in outcome.out.splitlines() if line.startswith("AppStack")]
    assert [line.partition(":")[0] for line in headlines] == ["AppStack plugin/shop", "AppStack plugin/two is new"]


async def test_no_output_holds_a_password(shop: Life, plugin: Plugin) -> None:
    """A changed Secret, a new stack, a status: in no form, plain or encoded."""
    held = await passwords(shop.cast)
    values = {value for data in held.values() for key, value in data.items() if "password" in key or "cookie" in key}
    assert values
    values |= {base64.b64decode(value).decode() for value in values}
    hidden = {"REDIS_URL": "redis://:hidden-word@elsewhere:6379/0"}
    await shop.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", json=a_secret("other-redis", hidden))
    for form in ("text", "json", "yaml"):
        other = {"mode": "External", "external": {"secretName": "other-redis"}}
        changed = await plan(plugin, a_manifest(redis=other), "-o", form)
        assert changed.code == 2
        assert "shop-env" in changed.out
        created = await plan(plugin, a_manifest("new"), "-o", form)
        status = await plugin.run("status", NAME, "-o", form)
        told = changed.out + created.out + status.out
        assert not [value for value in (*values, "hidden-word") if value in told]


def a_secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "stringData": data}


async def test_drift_is_part_of_a_plan(shop: Life, plugin: Plugin) -> None:
    path = BY_NAME["Deployment"].path(NAMESPACE, "shop-api")
    await shop.ask("PATCH", path, json={"spec": {"replicas": 4}}, headers=MERGE)
    outcome = await plan(plugin, a_manifest())
    assert outcome.code == 2
    assert "somebody else changed spec.replicas" in outcome.out
    assert "spec.replicas: 4 -> 1" in outcome.out
    await shop.undisturbed(shop.is_ready)


async def test_what_kubectl_applied_before_and_the_new_file_lacks_is_taken_away(shop: Life, plugin: Plugin) -> None:
    """As kubectl apply does: a field that only the last applied file had goes back to its default."""
    more = a_manifest("applied", postgres={"instances": 3}, redis={}, rabbitmq={}, backend={}, cronJobs=[])
    await kubectl(plugin, "apply", "-f", "-", stdin=yaml.safe_dump(more))
    less = copy.deepcopy(more)
    del less["spec"]["postgres"]
    outcome = await plan(plugin, less)
    assert "spec.postgres.instances: 3 -> 2" in outcome.out
    await kubectl(plugin, "delete", "appstack", "applied", "--wait=false")


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


async def test_kubectl_finds_the_command(shop: Life, plugin: Plugin) -> None:
    await status(shop, plugin)  # an operator is at work
    assert (await kubectl(plugin, "appstack", "status", NAME)).startswith("AppStack plugin/shop")


async def test_kubectl_scales_the_api(shop: Life, plugin: Plugin) -> None:
    await kubectl(plugin, "scale", "appstack", NAME, "--replicas=3")
    await shop.undisturbed(shop.is_ready)
    scale = await shop.ask("GET", f"{STACK.path(NAMESPACE, NAME)}/scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 3)
    pods = await kubectl(plugin, "get", "pods", "-l", scale["status"]["selector"], "-o", "name")
    assert len(pods.split()) == 3
    await kubectl(plugin, "scale", "appstack", NAME, "--replicas=1")
    await shop.undisturbed(shop.is_ready)


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


@pytest.mark.parametrize(
    ("silent_seconds", "says"), [(None, "there is no Lease"), (600.0, "has not been renewed since")]
)
async def test_status_says_that_no_operator_keeps_it_up_to_date(
    shop: Life, plugin: Plugin, silent_seconds: float | None, says: str
) -> None:
    outcome = await status(shop, plugin, silent_seconds=silent_seconds)
    assert outcome.code == 3
    first = outcome.out.splitlines()[1]
    assert "no operator is at work" in first
    assert f"{HOME}/appstack-operator" in first
    assert says in first
    told = json.loads((await plugin.run("status", NAME, "-o", "json")).out)["operator"]
    assert told["isAway"] is True
    assert told["message"] in first
    assert bool(told["renewedAt"]) is (silent_seconds is not None)


async def test_an_operator_that_renews_its_lease_is_no_news(shop: Life, plugin: Plugin) -> None:
    told = json.loads((await status(shop, plugin, "-o", "json", silent_seconds=20)).out)
    assert (told["operator"]["isAway"], told["operator"]["message"]) == (False, "")


async def test_status_says_where_it_cannot_tell(shop: Life, plugin: Plugin) -> None:
    outcome = await status(shop, plugin, "--operator-namespace", NAMESPACE)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].startswith("! the operator's Deployment was not found")


async def test_status_is_a_tree(shop: Life, plugin: Plugin) -> None:
    outcome = await status(shop, plugin)
    assert steady(outcome.out) == kept("status-ready", steady(outcome.out))
    assert (outcome.code, outcome.err) == (0, "")


async def test_status_is_data_too(shop: Life, plugin: Plugin) -> None:
    report = json.loads(steady((await plugin.run("status", NAME, "-o", "json")).out))
    assert yaml.safe_load(steady((await plugin.run("status", NAME, "-o", "yaml")).out)) == report
    assert (report["isReady"], report["isStalled"]) == (True, False)
    (available,) = [each for each in report["overall"] if each["type"] == "HighlyAvailable"]
    assert available["runbook"] == f"docs/runbooks/{available['reason']}.md"
    assert {part["title"] for part in report["parts"]} >= {"PostgreSQL", "API", "Workers"}


async def test_status_names_what_keeps_a_stack_from_being_ready(shop: Life, plugin: Plugin) -> None:
    """A new image that cannot be pulled, an unbound claim: the causes stand at the objects."""
    await shop.ask("PATCH", STACK.path(NAMESPACE, NAME), json={"spec": {"paused": True}}, headers=MERGE)
    pod = BY_NAME["Pod"].path(NAMESPACE, "shop-api-0")
    claim = BY_NAME["PersistentVolumeClaim"].path(NAMESPACE, "data-shop-postgres-0")
    was = (await shop.ask("GET", pod))["status"]
    waiting = {"reason": "ImagePullBackOff", "message": "back-off pulling image"}
    container = {"name": "api", "image": "shop:1", "imageID": "", "ready": False, "restartCount": 0}
    broken = {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T12:00:00Z"}],
        "containerStatuses": [{**container, "state": {"waiting": waiting}}],
    }
    await shop.ask("PATCH", f"{pod}/status", json={"status": broken}, headers=MERGE)
    await shop.ask("PATCH", f"{claim}/status", json={"status": {"phase": "Pending"}}, headers=MERGE)
    await is_counted_as_not_ready(shop, "shop-api")
    await shop.ask("POST", EVENT.path(NAMESPACE), json=a_warning("data-shop-postgres-0", "no storage class 'fast'"))
    outcome = await status(shop, plugin)
    assert steady(outcome.out) == kept("status-broken", steady(outcome.out))
    assert outcome.code == 2, "the operator has not seen the last change yet"
    await shop.ask("PATCH", f"{pod}/status", json={"status": {**was, "containerStatuses": None}}, headers=MERGE)
    await shop.ask("PATCH", STACK.path(NAMESPACE, NAME), json={"spec": {"paused": False}}, headers=MERGE)
    await shop.undisturbed(shop.is_ready)


async def is_counted_as_not_ready(shop: Life, deployment: str) -> None:
    """Wait for the controller, which sees a while later than the pod itself that it is not ready."""
    path = BY_NAME["Deployment"].path(NAMESPACE, deployment)
    async with asyncio.timeout(30):
        while (await shop.ask("GET", path))["status"].get("readyReplicas"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def a_warning(claim: str, note: str) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{claim}.1"},
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "action": "Provision",
        "note": note,
        "regarding": {"kind": "PersistentVolumeClaim", "name": claim, "namespace": NAMESPACE},
        "eventTime": "2026-01-01T12:00:00.000000Z",
        "reportingController": "test",
        "reportingInstance": "test",
    }


@pytest.mark.parametrize(("choice", "is_coloured"), [("always", True), ("never", False), ("auto", False)])
async def test_colours_are_for_terminals(shop: Life, plugin: Plugin, choice: str, is_coloured: bool) -> None:
    for words in (["status", NAME], ["plan", "-f", "-", "--operator-namespace", HOME]):
        manifest = yaml.safe_dump(a_manifest(postgres={"instances": 1, "parameters": {"work_mem": "8MB"}}))
        outcome = await plugin.run(*words, "--color", choice, stdin=manifest)
        assert ("\033[" in outcome.out) is is_coloured


async def test_the_command_can_be_asked_for_help(plugin: Plugin) -> None:
    for command, codes in EXIT_CODES.items():
        command_line = [sys.executable, "-m", "appstack_operator.plugin.main", command, "--help"]
        done = await asyncio.to_thread(subprocess.run, command_line, capture_output=True, text=True, check=True)
        assert codes in done.stdout

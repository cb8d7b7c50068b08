"""What the API server does not carry out is told by the part of the stack that it is about, with its sentence."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from kubernetes.aio import client, config

from appstack_operator import converge
from appstack_operator.client import Api, ApiError
from appstack_operator.converge import Operator
from appstack_operator.kinds import BY_NAME, CHILDREN, EVENT, STACK
from appstack_operator.leaving import COUNTS
from tests.apiserver.kit.cast import MERGE
from tests.apiserver.kit.field_cases import BASE
from tests.apiserver.kit.stage import Clock, staging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from appstack_operator.objects import Object
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
HANG_SECONDS = 120
LIMITS = {"resources": {"limits": {"memory": "2Gi"}}}


def rule(kind: str, *operations: str) -> dict[str, Any]:
    known = BY_NAME[kind]
    versions = {"apiGroups": [known.group], "apiVersions": [known.version]}
    return {**versions, "resources": [known.plural], "operations": list(operations)}


async def until(question: Callable[[], Awaitable[bool]]) -> None:
    """What is changed in the API server's configuration is soon in force, not at once."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            if await question():
                return
            await asyncio.sleep(0.1)


async def until_refused(stage: Stage, method: str, path: str, **arguments: Any) -> None:
    """A policy or a webhook is in force."""

    async def is_refused() -> bool:
        return not (await stage.cast.client.request(method, f"{path}?dryRun=All", **arguments)).is_success

    await until(is_refused)


@asynccontextmanager
async def forbidden(stage: Stage, kind: str, operation: str, probe: str) -> AsyncIterator[None]:
    """An admission policy against such changes in the stage's namespace; `probe` is an object that it is tried with."""
    name, here = stage.namespace, {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}}
    constraints = {"namespaceSelector": here, "resourceRules": [rule(kind, operation)]}
    validations = [{"expression": "false", "message": "nothing changes on Fridays"}]
    policy = {"failurePolicy": "Fail", "matchConstraints": constraints, "validations": validations}
    binding = {"policyName": name, "validationActions": ["Deny"]}
    made = {"validatingadmissionpolicies": policy, "validatingadmissionpolicybindings": binding}
    for plural, spec in made.items():
        await stage.ask("POST", f"{ADMISSION}/{plural}", json={"metadata": {"name": name}, "spec": spec})
    change = {"json": {"metadata": {"labels": {"a": "b"}}}, "headers": MERGE} if operation == "UPDATE" else {}
    await until_refused(stage, "PATCH" if change else "DELETE", stage.path(kind, probe), **change)
    try:
        yield
    finally:
        for plural in made:
            await stage.ask("DELETE", f"{ADMISSION}/{plural}/{name}")


@pytest.mark.parametrize("component", ["postgres", "redis"])
async def test_a_refused_end_of_a_member_is_no_wait_for_its_turn(world: World, api: Api, component: str) -> None:
    async with staging(world, api, f"refused-{component}") as stage:
        await stage.make_stack({**BASE, component: {COUNTS[component]: 3}})
        await stage.reach_health()
        await stage.settle_on_nodes()
        async with forbidden(stage, "StatefulSet", "UPDATE", f"shop-{component}"):
            await stage.change_spec(**{component: {COUNTS[component]: 1}})
            conditions = await stage.look()
        said = conditions["PostgresReady" if component == "postgres" else "RedisReady"]
        assert (said["status"], said["reason"]) == ("False", "ApplyRefused")
        assert "nothing changes on Fridays" in said["message"]
        assert conditions["Stalled"]["reason"] == "ApplyRefused"


async def test_a_refused_restart_is_told_by_its_service(world: World, api: Api) -> None:
    async with staging(world, api, "refused-restart") as stage:
        await stage.make_stack(BASE)
        await stage.reach_health()
        async with forbidden(stage, "Pod", "DELETE", "shop-rabbitmq-0"):
            await stage.change_spec(rabbitmq=LIMITS)
            await stage.look()
            await stage.cast.play()
            conditions = await stage.look()
        said = conditions["RabbitMQReady"]
        assert (said["status"], said["reason"]) == ("False", "ApplyRefused")
        assert said["message"].startswith("restart Pod shop-rabbitmq-")
        assert conditions["APIReady"]["status"] == "True"


async def test_a_webhook_that_is_away_for_a_minute_is_told(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server answers 500 then, as it does for what passes by itself."""
    monkeypatch.setattr(converge, "datetime", Clock)
    async with staging(world, api, "webhook-away") as stage:
        await stage.make_stack(BASE)
        await stage.reach_health()
        webhook = {
            "name": "policies.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/nobody"},
            "rules": [rule("Deployment", "UPDATE")],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        path = f"{ADMISSION}/validatingwebhookconfigurations"
        await stage.ask("POST", path, json={"metadata": {"name": stage.namespace}, "webhooks": [webhook]})
        try:
            change = {"metadata": {"labels": {"a": "b"}}}
            await until_refused(stage, "PATCH", stage.path("Deployment", "shop-api"), json=change, headers=MERGE)
            await stage.change_spec(backend={"api": LIMITS})
            assert "Stalled" not in await stage.look(), "it may pass"
            monkeypatch.setattr(Clock, "ahead", timedelta(seconds=61))
            conditions = await stage.look()
            assert conditions["Stalled"]["reason"] == "ApplyRefused"
            assert conditions["APIReady"]["reason"] == "ApplyRefused"
            assert 'failed calling webhook "policies.example.com"' in conditions["APIReady"]["message"]
            monkeypatch.setattr(Clock, "ahead", timedelta(seconds=125))
            assert await stage.look() == conditions, "told once"
        finally:
            await stage.ask("DELETE", f"{path}/{stage.namespace}")

        async def is_told_no_more() -> bool:
            return "Stalled" not in await stage.look()

        await until(is_told_no_more)
        await stage.reach_health()


@asynccontextmanager
async def as_operator(world: World, stage: Stage) -> AsyncIterator[Api]:
    """The way of a user to whom one Role gives all rights in the namespace."""
    user, group = f"operator-of-{stage.namespace}", "rbac.authorization.k8s.io"
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    await stage.make("Role", "operator", rules=[everything])
    subjects = [{"kind": "User", "name": user, "apiGroup": group}]
    role = {"kind": "Role", "name": "operator", "apiGroup": group}
    await stage.make("RoleBinding", "operator", roleRef=role, subjects=subjects)
    configuration = client.Configuration()
    kubeconfig = str(world.folder / "admin.kubeconfig")
    await config.load_kube_config(kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
    api_client = client.ApiClient(configuration)
    api_client.set_default_header("Impersonate-User", user)  # type: ignore[no-untyped-call]
    api = Api(api_client, read_seconds=30, write_seconds=30)
    try:
        await until(partial(may_list_pods, api, stage))
        yield api
    finally:
        await api.close()


async def may_list_pods(api: Api, stage: Stage, *, wanted: bool = True) -> bool:
    """Whether that right is there, or is not, as wanted."""
    try:
        await api.list(BY_NAME["Pod"], stage.namespace)
    except ApiError as error:
        if error.status != httpx.codes.FORBIDDEN:
            raise
        return not wanted
    return wanted


async def test_a_stack_that_cannot_be_looked_at_for_a_minute_says_so(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right was taken away: what status says of the stack is older and older."""
    monkeypatch.setattr(converge, "datetime", Clock)
    async with staging(world, api, "unseen") as stage, as_operator(world, stage) as own:
        stage.operator = Operator(own, stage.operator.settings)
        await stage.make_stack(BASE)
        await stage.reach_health()
        before = await stage.look()
        groups = sorted({kind.group for kind in (*CHILDREN, STACK, EVENT)} - {""})
        core = sorted({kind.plural for kind in CHILDREN if not kind.group} - {"pods"})
        rules = [{"apiGroups": [*groups], "resources": ["*"]}, {"apiGroups": [""], "resources": core}]
        await stage.change("Role", "operator", {"rules": [{**each, "verbs": ["*"]} for each in rules]})
        await until(partial(may_list_pods, own, stage, wanted=False))
        for ahead, is_told in ((0, False), (61, True), (122, True)):
            monkeypatch.setattr(Clock, "ahead", timedelta(seconds=ahead))
            with pytest.raises(ApiError):
                await stage.look()
            live = await stage.get(STACK.name, stage.name)
            stalled = [each["message"] for each in live["status"]["conditions"] if each["type"] == "Stalled"]
            assert bool(stalled) is is_told
            assert all("nothing is done for the stack: pods is forbidden" in each for each in stalled)
            (ready,) = [each["status"] for each in live["status"]["conditions"] if each["type"] == "Ready"]
            assert ready == ("Unknown" if is_told else "True")
        assert live["status"]["summary"]["reason"] == "ApplyRefused"
        await stage.change("Role", "operator", {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]})
        await until(partial(may_list_pods, own, stage))
        assert said_of(await stage.look()) == said_of(before)


def said_of(conditions: dict[str, Object]) -> dict[str, tuple[str, str, str]]:
    """All but since when."""
    return {name: (each["status"], each["reason"], each["message"]) for name, each in conditions.items()}


async def test_an_end_that_is_refused_for_a_minute_says_by_what(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converge, "datetime", Clock)
    async with staging(world, api, "refused-end") as stage:
        await stage.make_stack({**BASE, "deletionPolicy": "Delete"})
        await stage.reach_health()

        async def said() -> str:
            live = await stage.get(STACK.name, stage.name)
            (ready,) = [each for each in live["status"]["conditions"] if each["type"] == "Ready"]
            assert (ready["status"], ready["reason"]) == ("False", "Deleting")
            return str(ready["message"])

        async with forbidden(stage, "PersistentVolumeClaim", "DELETE", "data-shop-postgres-0"):
            await stage.ask("DELETE", stage.path(STACK.name, stage.name))
            await stage.look()
            assert await said() == "volumes and credentials are deleted once PostgreSQL's pods have ended"
            for pod in await stage.cast.list(BY_NAME["Pod"]):
                await stage.ask("DELETE", stage.path("Pod", pod["metadata"]["name"]), params={"gracePeriodSeconds": 0})
            for ahead, words in ((0, "volumes and credentials"), (61, "cannot be taken away: "), (122, "on Fridays")):
                monkeypatch.setattr(Clock, "ahead", timedelta(seconds=ahead))
                with pytest.raises(ApiError):
                    await stage.look()
                assert words in await said()

        async def is_gone() -> bool:
            with suppress(ApiError):  # the policy is still in force for a moment
                return not await stage.look()
            return False

        await until(is_gone)

"""Every Secret with a password, edited and deleted by a person: what happens is meant, and nobody is locked out."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.desired.backend import ENV_CHECKSUM
from appstack_operator.desired.context import RECORD
from appstack_operator.desired.credentials import PLACES
from appstack_operator.kinds import BY_NAME
from appstack_operator.objects import STACK_LABEL
from tests.apiserver.kit.life import BACKEND, NAME
from tests.apiserver.kit.stage import staging
from tests.apiserver.kit.troubles import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

ROOT = Path(__file__).parents[2]
# The bundled image: its token is a Secret too.
SPEC: dict[str, Any] = {
    "deletionPolicy": "Delete",
    "backend": {"api": {"replicas": 1}, "workers": []},
    "cronJobs": [],
    "postgres": {"instances": 1},
    "redis": {"replicas": 1, "sentinels": 1},
    "rabbitmq": {"replicas": 1},
}
# Nothing here answers as PostgreSQL or takes another user of RabbitMQ: these stay to be tried again.
NOT_YET, NEVER = "could not be set yet", "cannot be set while it runs"
EDITED = {
    "postgres_app": ("PostgresReady", NOT_YET),
    "postgres_superuser": ("PostgresReady", NOT_YET),
    "postgres_replication": ("PostgresReady", NOT_YET),
    "postgres_rest": ("PostgresReady", NEVER),
    "redis": ("RedisReady", NEVER),
    "rabbitmq": ("RabbitMQReady", NOT_YET),
    "rabbitmq_erlang_cookie": ("RabbitMQReady", NEVER),
}
OTHER = base64.b64encode(b"somebodys").decode()


@pytest.fixture(scope="module")
async def shop(world: World, api: Api) -> AsyncIterator[Stage]:
    async with staging(world, api, "credentials") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        yield stage


async def held(stage: Stage, name: str) -> dict[str, str]:
    data: dict[str, str] = (await stage.get("Secret", f"{NAME}-{name}"))["data"]
    return data


async def remove(stage: Stage, name: str) -> None:
    await stage.ask("DELETE", stage.path("Secret", f"{NAME}-{name}"), json=AT_ONCE)


def test_every_password_has_a_case() -> None:
    assert EDITED.keys() | {"api_token"} == PLACES.keys()


@pytest.mark.parametrize("field", EDITED)
async def test_an_edited_password_is_said_and_reaches_nobody_until_it_is_in_force(shop: Stage, field: str) -> None:
    condition, words = EDITED[field]
    (secret, key), given = PLACES[field], await held(shop, RECORD)
    before = await held(shop, secret)
    await shop.change("Secret", f"{NAME}-{secret}", {"data": {key: OTHER}})
    told = (await shop.look())[condition]
    assert (told["status"], told["reason"]) == ("False", "SecretInvalid")
    assert f"Secret {NAME}-{secret}: the {key} was edited and {words}" in told["message"]
    assert (await held(shop, secret))[key] == OTHER, "what a person wrote is not written over"
    assert await held(shop, RECORD) == given, "pods that restart get what is in force"
    await remove(shop, secret)
    assert (await shop.look())[condition]["reason"] in ("SecretInvalid", "Healthy"), "the pass that makes it again"
    assert await held(shop, secret) == before, "the way out that the message names"
    assert (await shop.look())[condition]["reason"] == "Healthy"


async def test_an_edited_token_is_the_token(shop: Stage) -> None:
    await shop.change("Secret", f"{NAME}-api-token", {"data": {"token": OTHER}})
    for _ in range(2):
        conditions = await shop.look()
    assert conditions["Ready"]["status"] == "True"
    assert (await held(shop, RECORD))["api_token"] == OTHER


@pytest.mark.parametrize("secret", sorted({RECORD, *(name for name, _ in PLACES.values())}))
async def test_a_deleted_secret_comes_back_as_it_was(shop: Stage, secret: str) -> None:
    before = await held(shop, secret)
    await remove(shop, secret)
    await shop.look()
    assert await held(shop, secret) == before


@pytest.mark.parametrize("field", PLACES)
async def test_what_somebody_writes_into_the_record_is_put_right(shop: Stage, field: str) -> None:
    before, (secret, _) = await held(shop, RECORD), PLACES[field]
    theirs = await held(shop, secret)
    await shop.change("Secret", f"{NAME}-{RECORD}", {"data": {field: OTHER}})
    await shop.look()
    assert await held(shop, RECORD) == before
    assert await held(shop, secret) == theirs
    assert not [each for each in (await shop.look()).values() if each["reason"] == "SecretInvalid"]


async def edit_broker_password(stage: Stage, password: str) -> None:
    data = {"password": base64.b64encode(password.encode()).decode()}
    await stage.change("Secret", f"{NAME}-rabbitmq-auth", {"data": data})


async def given_to_the_backend(stage: Stage) -> tuple[str, set[str]]:
    """The broker's address in the backend's Secret, and what its Deployments note of all they are given."""
    url = base64.b64decode((await stage.get("Secret", f"{NAME}-env"))["data"]["RABBITMQ_URL"]).decode()
    templates = [each["spec"]["template"] for each in await stage.cast.list(BY_NAME["Deployment"])]
    return url, {each["metadata"]["annotations"][ENV_CHECKSUM] for each in templates}


async def test_an_edited_password_waits_while_the_pods_that_hold_the_former_one_cannot_be_replaced(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.responders, "takes_passwords", True)
    passwords = world.responders.passwords
    async with staging(world, api, "rotated") as stage:
        in_force = stage.namespace, NAME, "rabbitmq"
        await stage.make_stack({**SPEC, "backend": BACKEND})
        await stage.reach_health()
        before, given = passwords[in_force], await given_to_the_backend(stage)

        await stage.change_spec(backend={"image": "shop:2"})
        await stage.look()
        await edit_broker_password(stage, "another")
        conditions = await stage.look()
        said = conditions["RabbitMQReady"]
        assert (said["status"], said["reason"]) == ("True", "RolloutInProgress")
        assert f"Secret {NAME}-rabbitmq-auth: the edited password is set once" in said["message"]
        assert "for image shop:2 runs" in said["message"], "what it waits for"
        assert conditions["Reconciling"]["status"] == "True"

        jobs = {each["spec"]["template"]["spec"]["containers"][0]["image"]: each for each in await stage.jobs()}
        await stage.fail_job(jobs["shop:2"]["metadata"]["name"], "column price exists")
        await stage.look()
        said = (await stage.look())["RabbitMQReady"]
        assert "column price exists" in said["message"]
        assert passwords[in_force] == before
        assert await given_to_the_backend(stage) == given

        await stage.change_spec(backend={"image": "shop:1"})
        await stage.look()
        assert passwords[in_force] == "another", "the gate is open"
        url, checksums = await given_to_the_backend(stage)
        assert "another@" in url
        assert len(checksums) == 1
        assert checksums != given[1], "the pods are replaced"
        await stage.reach_health()
        assert (await stage.look())["RabbitMQReady"]["reason"] == "Healthy"


async def lose_all(stage: Stage) -> None:
    """`kubectl delete secrets --all`, or a clean-up by a label."""
    for each in await stage.cast.list(BY_NAME["Secret"]):
        await stage.ask("DELETE", stage.path("Secret", each["metadata"]["name"]), json=AT_ONCE)


# Secret -> its keys, and the variables of a pod that hold them: the table in docs/runbooks/SecretMissing.md.
IN_PODS = {
    "postgres-app": {"password": "APP_PASSWORD"},
    "postgres-superuser": {"password": "PATRONI_SUPERUSER_PASSWORD"},
    "postgres-replication": {"password": "PATRONI_REPLICATION_PASSWORD"},
    "postgres-rest": {"password": "PATRONI_RESTAPI_PASSWORD"},
    "redis-auth": {"password": "REDIS_PASSWORD"},
    "rabbitmq-auth": {"password": "DEFAULT_PASS", "erlang-cookie": "ERLANG_COOKIE"},
}


async def test_passwords_that_nobody_knows_any_more_are_not_made_up(world: World, api: Api) -> None:
    """Others would open nothing: pods that are given them would be locked out, one after the other."""
    async with staging(world, api, "lost-secrets") as stage:
        await stage.make_stack({**SPEC, "backend": BACKEND})
        await stage.reach_health()
        secrets = {each["metadata"]["name"]: each["data"] for each in await stage.cast.list(BY_NAME["Secret"])}
        await lose_all(stage)
        before = await stage.versions()
        for _ in range(3):
            conditions = await stage.look()
            await stage.cast.play()
        assert await stage.versions() == before, "nothing was made up, and no pod was given anything"
        for name, words in (
            ("PostgresReady", "postgres-app"),
            ("RedisReady", "redis-auth"),
            ("RabbitMQReady", "mq-auth"),
        ):
            assert (conditions[name]["status"], conditions[name]["reason"]) == ("False", "SecretMissing")
            assert words in conditions[name]["message"]
        assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("Unknown", "SecretMissing")
        assert conditions["Stalled"]["reason"] == "SecretMissing"
        assert (conditions["HighlyAvailable"]["status"]) == "Unknown"

        for name, keys in IN_PODS.items():
            data = {key: secrets[f"{NAME}-{name}"][key] for key in keys}
            await stage.make("Secret", f"{NAME}-{name}", data=data, metadata={"labels": {STACK_LABEL: NAME}})
        await stage.look()
        await stage.reach_health()
        assert {each["metadata"]["name"]: each["data"] for each in await stage.cast.list(BY_NAME["Secret"])} == secrets
        after = await stage.versions()
        assert {each: after[each] for each in before} == before, "nothing else was written"


async def lose_all_but_volumes(stage: Stage) -> dict[str, dict[str, str]]:
    """`kubectl delete all,secrets --all`: claims, ConfigMaps and the stack stay. Secret -> what it held."""
    secrets = {each["metadata"]["name"]: each["data"] for each in await stage.cast.list(BY_NAME["Secret"])}
    for kind in ("Deployment", "StatefulSet", "Job", "Service", "Pod"):
        for each in await stage.cast.list(BY_NAME[kind]):
            await stage.cast.delete(each)
    await lose_all(stage)
    return secrets


async def claims(stage: Stage) -> set[str]:
    return {each["metadata"]["uid"] for each in await stage.cast.list(BY_NAME["PersistentVolumeClaim"])}


@pytest.mark.parametrize("has_backup", [True, False], ids=["from a backup", "without a backup"])
async def test_volumes_without_pods_and_passwords_wait_for_them_or_are_begun_anew(
    world: World, api: Api, *, has_backup: bool
) -> None:
    """What lies on PostgreSQL's and RabbitMQ's volumes opens to the former passwords alone."""
    async with staging(world, api, f"lost-all-{has_backup}".lower()) as stage:
        await stage.make_stack({**SPEC, "deletionPolicy": "Retain", "backend": BACKEND})
        await stage.reach_health()
        volumes, secrets = await claims(stage), await lose_all_but_volumes(stage)
        for _ in range(3):
            conditions = await stage.look()
            await stage.cast.play()
        for name in ("PostgresReady", "RabbitMQReady"):
            assert (conditions[name]["status"], conditions[name]["reason"]) == ("False", "SecretMissing")
            assert "No pod is left that holds them: bring the Secrets back from a backup" in conditions[name]["message"]
        assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("False", "SecretMissing")
        sets = {each["metadata"]["name"] for each in await stage.cast.list(BY_NAME["StatefulSet"])}
        assert sets == {f"{NAME}-redis", f"{NAME}-redis-sentinel"}, "only what any password opens"

        if has_backup:
            lost = [name for name in IN_PODS if name != "redis-auth"]  # those that the messages name
            for name in lost:
                data = {key: secrets[f"{NAME}-{name}"][key] for key in IN_PODS[name]}
                await stage.make("Secret", f"{NAME}-{name}", data=data, metadata={"labels": {STACK_LABEL: NAME}})
            await stage.reach_health()
            assert await claims(stage) == volumes
            for name in lost:
                assert await held(stage, name) == secrets[f"{NAME}-{name}"]
            return

        await stage.change_spec(deletionPolicy="Delete")
        await stage.look()
        await stage.ask("DELETE", stage.path("AppStack", NAME))
        for _ in range(10):
            await stage.look()
            await stage.cast.play()
        assert await claims(stage) == set()
        await stage.make_stack({**SPEC, "backend": BACKEND})
        await stage.reach_health()
        assert not await claims(stage) & volumes
        assert (await held(stage, "rabbitmq-auth"))["password"] != secrets[f"{NAME}-rabbitmq-auth"]["password"]


async def test_the_variables_in_the_runbook_are_those_of_the_pods(shop: Stage) -> None:
    found: dict[str, set[str]] = {}
    for each in await shop.cast.list(BY_NAME["StatefulSet"]):
        for container in each["spec"]["template"]["spec"]["containers"]:
            for variable in container["env"]:
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    found.setdefault(reference["key"], set()).add(variable["name"])
    assert found == {field: {IN_PODS[secret][key]} for field, (secret, key) in PLACES.items() if secret in IN_PODS}
    runbook = (ROOT / "docs" / "runbooks" / "SecretMissing.md").read_text()
    for secret, keys in IN_PODS.items():
        for key, variable in keys.items():
            assert re.search(rf"^\| NAME-{secret} \| {key} \| NAME-\S+-0 \| {variable} \|$", runbook, re.MULTILINE)

"""A name that somebody else has taken: told, left alone, and nothing waits for it that can do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appstack_operator.kinds import BY_NAME
from tests.apiserver.kit.life import NAME
from tests.apiserver.kit.stage import Stage, staging
from tests.apiserver.kit.troubles import SPEC

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World


async def test_a_policy_that_cannot_be_made_holds_nothing_up(world: World, api: Api) -> None:
    async with staging(world, api, "foreign-policy") as stage:
        theirs = await stage.make("NetworkPolicy", f"{NAME}-redis", spec={"podSelector": {}})
        await stage.make_stack(SPEC)
        await stage.reach_health()
        said = (await stage.look())["RedisReady"]
        assert (said["status"], said["reason"]) == ("False", "ForeignObject")
        assert f"NetworkPolicy {NAME}-redis" in said["message"]
        assert await stage.get("NetworkPolicy", f"{NAME}-redis") == theirs
        await stage.ask("DELETE", stage.path("NetworkPolicy", f"{NAME}-redis"))
        await stage.look()
        assert (await stage.look())["RedisReady"]["status"] == "True"


async def test_an_api_behind_a_service_of_somebody_elses_serves_nobody(world: World, api: Api) -> None:
    async with staging(world, api, "foreign-door") as stage:
        theirs = await stage.make("Service", f"{NAME}-api", spec={"ports": [{"port": 80}], "selector": {"a": "b"}})
        await stage.make_stack(SPEC)
        for _ in range(12):
            await stage.cast.play()
            conditions = await stage.look()
            if await stage.cast.list(BY_NAME["Deployment"]):
                break
        for _ in range(2):
            await stage.cast.play()
            conditions = await stage.look()
        assert conditions["Ready"]["status"] == "False", "its pods are ready, and no request reaches them"
        assert f"no Service {NAME}-api" in conditions["Ready"]["message"]
        assert conditions["APIReady"]["reason"] == conditions["Stalled"]["reason"] == "ForeignObject"
        assert (await stage.get("Service", f"{NAME}-api"))["spec"] == theirs["spec"]

        await stage.ask("DELETE", stage.path("Service", f"{NAME}-api"))
        await stage.reach_health()
        await stage.change_spec(paused=True)
        await stage.ask("DELETE", stage.path("Service", f"{NAME}-api"))
        assert (await stage.look())["Ready"]["status"] == "False", "nor those of a paused stack"


CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


async def test_a_volume_of_somebody_elses_is_not_taken_for_one_of_ours(world: World, api: Api) -> None:
    """What another tool left under the name of a claim to come: it would be mounted, and deleted with the stack."""
    names = [f"data-{NAME}-rabbitmq-0", f"data-{NAME}-rabbitmq-3"]
    async with staging(world, api, "foreign-volume") as stage:
        theirs = [await stage.make("PersistentVolumeClaim", name, spec=CLAIM) for name in names]
        await stage.make_stack(SPEC)
        for _ in range(3):
            await stage.cast.play()
            conditions = await stage.look()
        said = conditions["RabbitMQReady"]
        assert (said["status"], said["reason"]) == ("False", "ForeignObject")
        assert f"PersistentVolumeClaim {names[0]} exists and does not belong to this stack" in said["message"]
        assert conditions["Stalled"]["reason"] == "ForeignObject"
        assert {each["metadata"]["name"] for each in await stage.cast.list(BY_NAME["StatefulSet"])} == {
            f"{NAME}-{component}" for component in ("postgres", "redis", "redis-sentinel")
        }
        await stage.ask("DELETE", stage.path("PersistentVolumeClaim", names[0]))
        await stage.reach_health()
        assert (await stage.look())["RabbitMQReady"]["status"] == "True"

        await stage.change_spec(rabbitmq={"replicas": 5})
        said = (await stage.look())["RabbitMQReady"]
        assert said["reason"] == "ForeignObject"
        assert names[1] in said["message"]
        assert (await stage.get("StatefulSet", f"{NAME}-rabbitmq"))["spec"]["replicas"] == 3
        assert await stage.get("PersistentVolumeClaim", names[1]) == theirs[1]
        await stage.ask("DELETE", stage.path("PersistentVolumeClaim", names[1]))
        await stage.reach_health()
        assert (await stage.get("StatefulSet", f"{NAME}-rabbitmq"))["spec"]["replicas"] == 5


async def test_two_stacks_whose_names_meet_leave_each_other_alone(world: World, api: Api) -> None:
    """Job `eu-nightly` of stack `shop` and job `nightly` of stack `shop-eu` would be one CronJob."""
    name, nightly = "shop-eu-nightly", {"schedule": "0 3 * * *"}
    small = {"postgres": {"instances": 1}, "redis": {"replicas": 1, "sentinels": 1}, "rabbitmq": {"replicas": 1}}
    async with staging(world, api, "met") as shop:
        await shop.make_stack({**SPEC, **small, "cronJobs": [{"name": "eu-nightly", **nightly}]})
        await shop.reach_health()
        before = await shop.get("CronJob", name)
        other = Stage(shop.cast, api, "shop-eu")
        await other.make_stack({**SPEC, **small, "cronJobs": [{"name": "nightly", **nightly}]})
        for _ in range(12):
            await other.cast.play()
            said = (await other.look())["CronJobsReady"]
            if said["reason"] == "ForeignObject":
                break
        assert f"CronJob {name} exists and does not belong to this stack" in said["message"]
        assert await shop.get("CronJob", name) == before
        assert (await shop.look())["CronJobsReady"]["status"] == "True"
        assert await shop.get("CronJob", name) == before

        await shop.change_spec(cronJobs=[])
        await shop.reach_health()
        await other.reach_health()
        after = await other.get("CronJob", name)
        assert after["metadata"]["uid"] != before["metadata"]["uid"]
        assert after["metadata"]["ownerReferences"][0]["name"] == "shop-eu"

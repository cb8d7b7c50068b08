"""Behind a closed gate what serves stays, a scheduled job can be suspended, the cause is kept: at a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.apiserver.kit.life import BACKEND
from tests.apiserver.kit.stage import FAILED, container_status, staging
from tests.apiserver.kit.troubles import AT_ONCE, SPEC, a_running_migration

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World
    from tests.apiserver.kit.stage import Stage

JOB = "shop-nightly"


def nightly(**changes: Any) -> dict[str, Any]:
    return {"cronJobs": [{"name": "nightly", "schedule": "0 3 * * *", **changes}]}


async def fail_the_migration_to(stage: Stage, image: str) -> None:
    """The gate to the backend closes, and stays so."""
    await stage.change_spec(backend={"image": image})
    await stage.look()
    jobs = {each["spec"]["template"]["spec"]["containers"][0]["image"]: each for each in await stage.jobs()}
    await stage.fail_job(jobs[image]["metadata"]["name"], "column price exists")
    assert (await stage.look())["MigrationsApplied"]["reason"] == "MigrationFailed"


async def scheduled(stage: Stage) -> tuple[str, str, bool]:
    """Image, schedule, and whether it is suspended."""
    spec = (await stage.get("CronJob", JOB))["spec"]
    image = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"]
    return image, spec["schedule"], spec["suspend"]


async def test_a_suspension_passes_a_closed_gate_alone(world: World, api: Api) -> None:
    async with staging(world, api, "suspended") as stage:
        await stage.make_stack(SPEC)
        await stage.reach_health()
        await fail_the_migration_to(stage, "shop:2")
        assert await scheduled(stage) == ("shop:1", "0 3 * * *", False)

        before = await stage.versions()
        await stage.change_spec(**nightly(suspend=True, schedule="0 5 * * *"))
        await stage.look()
        assert await scheduled(stage) == ("shop:1", "0 3 * * *", True)
        after = await stage.versions()
        assert {each for each in after if after[each] != before.get(each)} == {("CronJob", JOB)}
        await stage.look()
        assert await stage.versions() == after, "once"

        # A new begin waits for the gate, like all else; then the spec holds whole, by whomever which field was written.
        await stage.change_spec(**nightly(suspend=False, schedule="0 5 * * *"))
        await stage.look()
        assert await scheduled(stage) == ("shop:1", "0 3 * * *", True)
        await stage.change_spec(backend={**BACKEND, "image": "shop:3"})
        await stage.reach_health()
        assert await scheduled(stage) == ("shop:3", "0 5 * * *", False)
        await stage.look()
        settled = await stage.versions()
        await stage.look()
        assert await stage.versions() == settled


async def test_a_migration_whose_time_is_up_keeps_its_cause(world: World, api: Api) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "shop:1 is not there"}}
    late = [each | {"reason": "DeadlineExceeded"} for each in FAILED["conditions"]]
    async with staging(world, api, "late") as stage, a_running_migration(stage):
        job = await stage.migration_job()
        status = {"phase": "Pending", "containerStatuses": [container_status("migrate", waiting)]}
        await stage.put_status("Pod", f"{job}-x", status)
        assert (await stage.look())["MigrationsApplied"]["reason"] == "ImagePullFailed"
        await stage.ask("DELETE", stage.path("Pod", f"{job}-x"), json=AT_ONCE)
        await stage.put_status("Job", job, {**FAILED, "conditions": late})
        for _ in range(2):
            applied = (await stage.look())["MigrationsApplied"]
            assert applied["reason"] == "MigrationFailed"
            assert "failed (DeadlineExceeded): image shop:1 of pod" in applied["message"]
            assert "shop:1 is not there" in applied["message"]

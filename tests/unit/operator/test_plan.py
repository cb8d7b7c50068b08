"""What a pass would write, and why."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from appstack_operator.desired.stack import Stage, Wanted, build_stack
from appstack_operator.gates import Gates
from appstack_operator.objects import ROLE_LABEL, Object, owner_reference
from appstack_operator.plan import Action, Impact, Verb, forecast, plan, worst
from tests.unit.operator.factories import a_context, a_pod, a_stack, made, observed
from tests.unit.operator.planning import OPEN, everything, plan_for
from tests.unit.operator.running import DONE, FAILED


def test_a_converged_stack_has_an_empty_plan() -> None:
    assert plan_for(everything()) == []


def test_a_new_stack_is_made_in_the_order_of_its_stages() -> None:
    stages = [action.stage for action in plan_for([])]
    assert stages == sorted(stages)
    assert {action.verb for action in plan_for([])} == {Verb.CREATE}


@pytest.mark.parametrize(
    ("change", "impact"),
    [
        pytest.param({}, Impact.NO_OP, id="nothing changed"),
        pytest.param({"backend": {"api": {"replicas": 3}}}, Impact.IN_PLACE, id="more API pods"),
        pytest.param({"backend": {"env": [{"name": "A", "value": "1"}]}}, Impact.ROLLING, id="another variable"),
        pytest.param({"cronJobs": []}, Impact.DESTRUCTIVE, id="no scheduled jobs any more"),
    ],
)
def test_a_plan_tells_the_worst_impact(change: dict[str, Any], impact: Impact) -> None:
    assert worst(plan_for(everything(), **change)) is impact


def test_a_new_image_is_named_in_the_plan() -> None:
    before = everything(backend={"image": "shop:1"})
    actions = plan_for(before, backend={"image": "shop:2"})
    assert [(str(action.target), action.why) for action in actions if action.verb is Verb.APPLY] == [
        ("Deployment shop-api", "image shop:1 -> shop:2")
    ]


def test_another_number_of_pods_is_named_in_the_plan() -> None:
    (action,) = plan_for(everything(), backend={"api": {"replicas": 3}})
    assert action.why == "replicas 2 -> 3"


@pytest.mark.parametrize(
    ("status", "phase", "is_tried_anew"),
    [
        pytest.param(FAILED, "Failed", True, id="it failed"),
        pytest.param({}, "Pending", True, id="it never began"),
        pytest.param({}, "Running", False, id="it is at work"),
        pytest.param(DONE, "Succeeded", False, id="it has migrated"),
    ],
)
def test_another_content_of_a_secret_that_env_names_is_a_fresh_try_of_what_migrated_nothing(
    status: dict[str, Any], phase: str, is_tried_anew: bool
) -> None:
    stack = a_stack(backend={"image": "shop:1", "migrations": {}, "envFrom": [{"secretRef": {"name": "theirs"}}]})

    def given(value: str) -> list[Wanted]:
        return build_stack(stack, a_context(references={("Secret", "theirs"): {"KEY": value}}))

    objects = [
        made(stack, each.manifest, **(status if each.manifest["kind"] == "Job" else {})) for each in given("MQ==")
    ]
    seen = observed(*objects, a_pod(stack, "migrate", phase=phase))
    assert not [action for action in plan(stack, given("MQ=="), seen, OPEN) if action.target.kind == "Job"]
    jobs = [action.verb for action in plan(stack, given("Mg=="), seen, OPEN) if action.target.kind == "Job"]
    assert jobs == ([Verb.DELETE] if is_tried_anew else [])


def test_what_runs_stays_as_it_is_while_a_service_that_it_needs_has_no_address() -> None:
    before = [obj for obj in everything() if obj["metadata"]["name"] != "shop-postgres-rw"]
    addresses = {name: ip for name, ip in a_context().addresses.items() if name != "shop-postgres-rw"}
    stack = a_stack(backend={"api": {"replicas": 3}})
    actions = plan(stack, build_stack(stack, a_context(addresses=addresses)), observed(*before), OPEN)
    # The next pass knows the address of the new Service, and rolls the pods out once.
    assert in_words(actions) == {"create Service shop-postgres-rw", "scale Deployment shop-api"}


def test_scheduled_jobs_wait_for_the_rollout_of_the_pods() -> None:
    jobs = [{"name": "report", "schedule": "@daily"}]
    actions = plan_for(
        everything(backend={"image": "shop:1"}, cronJobs=jobs), backend={"image": "shop:2"}, cronJobs=jobs
    )
    assert [str(action.target) for action in actions] == ["Deployment shop-api"]


def restarts(before: list[Object], **spec: Any) -> list[tuple[str, Impact]]:
    """The pods that a change of this stack with these pods is foreseen to restart."""
    stack = a_stack(**spec)
    members = [
        a_pod(stack, "postgres", number, labels={ROLE_LABEL: "primary" if number == 1 else "replica"})
        for number in range(3)
    ]
    actions = forecast(stack, build_stack(stack, a_context()), observed(*before, *members), OPEN)
    return [(action.target.name, action.impact) for action in actions if action.verb is Verb.RESTART]


def test_a_forecast_names_the_restarts_that_a_new_template_leads_to() -> None:
    before = everything(postgres={"instances": 3})
    changed = {"instances": 3, "resources": {"limits": {"memory": "2Gi"}}}
    assert restarts(before, postgres={"instances": 3}) == []
    assert restarts(before, postgres=changed) == [
        ("shop-postgres-2", Impact.ROLLING),
        ("shop-postgres-0", Impact.ROLLING),
        ("shop-postgres-1", Impact.FAILOVER),
    ]


def test_a_forecast_restarts_no_pod_that_goes_anyway() -> None:
    before = everything(postgres={"instances": 3})
    changed = {"instances": 2, "resources": {"limits": {"memory": "2Gi"}}}
    assert [name for name, _ in restarts(before, postgres=changed)] == ["shop-postgres-0", "shop-postgres-1"]


def test_taking_the_leader_away_is_a_failover() -> None:
    stack, before = a_stack(postgres={"instances": 1}), everything(postgres={"instances": 2})
    leader = a_pod(stack, "postgres", 1, labels={ROLE_LABEL: "primary"})
    actions = plan(stack, build_stack(stack, a_context()), observed(*before, leader), OPEN)
    assert {action.target.name: action.impact for action in actions if action.target.kind == "StatefulSet"} == {
        "shop-postgres": Impact.FAILOVER
    }


WAITS = Gates({Stage.BACKEND: "waits", Stage.CRON_JOBS: "waits"})

MIGRATING: dict[str, Any] = {"image": "shop:1", "migrations": {}}


def serving(job_ends: str = "Complete", **spec: Any) -> list[Object]:
    """All objects of a stack whose pods run, and whose migration has ended (or not: an empty word)."""
    objects = everything(**spec)
    for obj in objects:
        if obj["kind"] == "Deployment":
            count = obj["spec"].get("replicas", 1)
            numbers = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), count)
            obj["status"] = {"observedGeneration": 1, **numbers}
        if obj["kind"] == "Job" and job_ends:
            obj["status"] = {"conditions": [{"type": job_ends, "status": "True"}]}
    return objects


def in_words(actions: list[Action]) -> set[str]:
    return {f"{action.verb.value} {action.target}" for action in actions}


def job_of(objects: list[Object]) -> Object:
    (job,) = (obj for obj in objects if obj["kind"] == "Job")
    return job


def test_behind_a_closed_gate_nothing_is_written() -> None:
    actions = plan_for(serving(backend=MIGRATING), WAITS, backend=MIGRATING | {"image": "shop:2"})
    assert [(action.verb, action.target.kind) for action in actions] == [(Verb.CREATE, "Job")]


def test_behind_a_closed_gate_runs_can_be_ended_and_not_begun() -> None:
    def jobs(*, suspend: bool) -> dict[str, Any]:
        return {"cronJobs": [{"name": "report", "schedule": "@daily", "suspend": suspend}]}

    after: dict[str, Any] = {"backend": MIGRATING | {"image": "shop:2"}}
    before = serving(backend=MIGRATING, **jobs(suspend=False))
    ended = [each for each in plan_for(before, WAITS, **after, **jobs(suspend=True)) if each.target.kind == "CronJob"]
    assert [(each.verb, each.manifest) for each in ended] == [(Verb.SUSPEND, {"spec": {"suspend": True}})]
    (job,) = (obj for obj in before if obj["kind"] == "CronJob")
    job["spec"]["suspend"] = True
    for suspend in (True, False):
        planned = plan_for(before, WAITS, **after, **jobs(suspend=suspend))
        assert [str(each) for each in planned if each.target.kind == "CronJob"] == []


def test_a_pool_of_workers_goes_when_the_one_in_its_place_works() -> None:
    """Were it the other way round, a failed migration would leave nobody who works."""
    bulk, imports = ({"workers": [{"name": name, "queues": ["bulk"]}]} for name in ("bulk", "imports"))
    before = serving(backend=MIGRATING | bulk)
    after: dict[str, Any] = {"backend": MIGRATING | imports | {"image": "shop:2"}}
    gone = "delete Deployment shop-worker-bulk"
    assert gone not in in_words(plan_for(before, WAITS, **after))
    started = in_words(plan_for(before, OPEN, **after))
    assert "create Deployment shop-worker-imports" in started
    assert gone not in started
    assert in_words(plan_for([*before, *everything(**after)], OPEN, **after)) == set()  # its pods are not there yet
    assert gone in in_words(plan_for([*before, *serving(**after)], OPEN, **after))


def test_the_pooler_goes_when_no_pod_knows_it_any_more() -> None:
    pooled: dict[str, Any] = {"postgres": {"pooler": {"enabled": True}}, "backend": {"image": "shop:1"}}
    rolling: dict[str, Any] = {"backend": {"image": "shop:2"}}
    doors = {"delete Service shop-postgres-pooler", "delete Deployment shop-postgres-pooler"}
    assert not doors & in_words(plan_for(serving(**pooled), WAITS, **rolling))
    assert not doors & in_words(plan_for(serving(**pooled), OPEN, **rolling))
    assert doors <= in_words(plan_for([*serving(**pooled), *serving(**rolling)], OPEN, **rolling))


def test_who_comes_back_from_a_failed_migration_does_not_migrate_again() -> None:
    before = serving(backend=MIGRATING)
    failed = job_of(serving("Failed", backend=MIGRATING | {"image": "shop:2"}))
    assert plan_for([*before, failed], WAITS, backend=MIGRATING | {"image": "shop:2"}) == []
    assert in_words(plan_for([*before, failed], OPEN, backend=MIGRATING)) == {
        f"delete Job {failed['metadata']['name']}"
    }


def test_the_job_of_a_former_version_goes_once_the_new_one_serves() -> None:
    former, after = job_of(serving(backend=MIGRATING)), serving(backend=MIGRATING | {"image": "shop:2"})
    actions = plan_for([former, *after], OPEN, backend=MIGRATING | {"image": "shop:2"})
    assert in_words(actions) == {f"delete Job {former['metadata']['name']}"}


@pytest.mark.parametrize(("phase", "is_ended"), [("Running", False), ("Pending", False), ("Succeeded", True)])
def test_two_migrations_never_run_at_once(phase: str, is_ended: bool) -> None:
    before, change = serving("", backend=MIGRATING), {"backend": MIGRATING | {"image": "shop:2"}}
    running = job_of(before)
    assert in_words(plan_for(before, WAITS, **change)) == {f"delete Job {running['metadata']['name']}"}
    left = [obj for obj in before if obj is not running]
    pod = a_pod(a_stack(), "migrate", phase=phase)
    made_now = [word for word in in_words(plan_for([*left, pod], WAITS, **change)) if word.startswith("create Job")]
    assert bool(made_now) is is_ended


@pytest.mark.parametrize(
    ("ends", "pods", "is_made_anew"),
    [("Failed", [], True), ("", ["Pending"], True), ("", ["Running"], False), ("Complete", [], False)],
)
def test_a_migration_that_could_not_begin_is_tried_again_when_its_spec_is_mended(
    ends: str, pods: list[str], is_made_anew: bool
) -> None:
    before = serving(ends, backend=MIGRATING)
    members = [a_pod(a_stack(), "migrate", phase=phase) for phase in pods]
    mended = MIGRATING | {"imagePullSecrets": [{"name": "registry"}]}
    actions = plan_for([*before, *members], WAITS, backend=mended)
    # The data services pull their images with it too.
    of_the_backend = {words for words in in_words(actions) if "StatefulSet" not in words}
    assert of_the_backend == ({f"delete Job {job_of(before)['metadata']['name']}"} if is_made_anew else set())


def test_a_forecast_tells_that_volumes_grow() -> None:
    stack = a_stack(postgres={"storage": {"size": "20Gi"}})
    before = everything(postgres={"storage": {"size": "10Gi"}})
    claims = [
        {
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": f"data-shop-postgres-{number}",
                "namespace": "shop",
                "uid": f"claim-{number}",
                "labels": {"appstack.dev/stack": "shop", "appstack.dev/component": "postgres"},
            },
            "spec": {"resources": {"requests": {"storage": "10Gi"}}},
        }
        for number in range(2)
    ]
    actions = forecast(stack, build_stack(stack, a_context()), observed(*before, *claims), OPEN)
    told = [str(action).split(" [")[0] for action in actions if action.verb in (Verb.GROW, Verb.REPLACE)]
    assert told == [
        "grow PersistentVolumeClaim data-shop-postgres-0",
        "grow PersistentVolumeClaim data-shop-postgres-1",
        "replace StatefulSet shop-postgres",
    ]


def test_behind_a_closed_gate_a_service_is_still_repaired() -> None:
    closed = Gates({Stage.BACKEND: "waits", Stage.CRON_JOBS: "waits"})
    objects = everything()
    service = next(obj for obj in objects if (obj["kind"], obj["metadata"]["name"]) == ("Service", "shop-api"))
    del service["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:selector"]
    (action,) = plan_for(objects, closed)
    assert str(action.target) == "Service shop-api"


def give_image_to_somebody_else(objects: list[Object]) -> None:
    """What `kubectl set image` does to the API."""
    api = next(obj for obj in objects if (obj["kind"], obj["metadata"]["name"]) == ("Deployment", "shop-api"))
    api["spec"]["template"]["spec"]["containers"][0]["image"] = "stranger:1"
    del api["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]


@pytest.mark.parametrize("first", [Stage.MIGRATIONS, Stage.BACKEND, Stage.CRON_JOBS])
def test_behind_a_closed_gate_what_serves_is_still_repaired(first: Stage) -> None:
    closed = Gates(dict.fromkeys((stage for stage in Stage if stage >= first), "waits"))
    before = everything(backend={"image": "shop:1"})
    give_image_to_somebody_else(before)
    (action,) = plan_for(before, closed, backend={"image": "shop:1"})
    assert (action.verb, str(action.target), action.impact) == (Verb.APPLY, "Deployment shop-api", Impact.ROLLING)
    assert action.manifest is not None
    assert action.manifest["spec"]["template"]["spec"]["containers"][0]["image"] == "shop:1"


def test_no_repair_lets_a_new_image_through_a_closed_gate() -> None:
    closed = Gates({Stage.BACKEND: "waits", Stage.CRON_JOBS: "waits"})
    before = everything(backend={"image": "shop:1"})
    give_image_to_somebody_else(before)
    assert plan_for(before, closed, backend={"image": "shop:2"}) == []


def test_a_gate_that_closes_in_a_rollout_leaves_it_to_itself() -> None:
    """What has begun goes on, by Kubernetes alone; what is drift in it is put right; a way back waits for the gate."""
    closed = Gates(dict.fromkeys((Stage.MIGRATIONS, Stage.BACKEND, Stage.CRON_JOBS), "waits"))
    begun = everything(backend={"image": "shop:2"})
    api = next(obj for obj in begun if (obj["kind"], obj["metadata"]["name"]) == ("Deployment", "shop-api"))
    api["status"] = {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}
    assert plan_for(begun, closed, backend={"image": "shop:2"}) == []
    assert plan_for(begun, closed, backend={"image": "shop:1"}) == []
    give_image_to_somebody_else(begun)
    (action,) = plan_for(begun, closed, backend={"image": "shop:2"})
    assert (action.verb, str(action.target)) == (Verb.APPLY, "Deployment shop-api")
    assert plan_for(begun, closed, backend={"image": "shop:1"}) == [], "what was applied before is not known any more"


def test_behind_a_closed_gate_what_is_gone_is_not_made_again() -> None:
    closed = Gates({Stage.BACKEND: "waits", Stage.CRON_JOBS: "waits"})
    left = [obj for obj in everything() if obj["kind"] != "Deployment"]
    assert plan_for(left, closed) == []


def test_behind_a_closed_gate_the_number_of_pods_still_follows_the_spec() -> None:
    closed = Gates({Stage.BACKEND: "waits", Stage.CRON_JOBS: "waits"})
    change = {"backend": {"image": "shop:2", "api": {"replicas": 5}}}
    actions = plan_for(everything(backend={"image": "shop:1"}), closed, **change)
    scaled = [(action.verb, str(action.target), action.manifest) for action in actions]
    assert scaled == [(Verb.SCALE, "Deployment shop-api", {"spec": {"replicas": 5}})]


def test_without_the_users_secrets_nothing_of_the_backend_is_written() -> None:
    closed = Gates(dict.fromkeys((Stage.ENVIRONMENT, Stage.MIGRATIONS, Stage.BACKEND, Stage.CRON_JOBS), "waits"))
    assert {action.stage for action in plan_for([], closed)} == {Stage.CREDENTIALS, Stage.DATA_SERVICES}


def test_what_somebody_else_changed_is_put_back() -> None:
    objects = everything()
    deployment = next(obj for obj in objects if obj["kind"] == "Deployment" and obj["metadata"]["name"] == "shop-api")
    del deployment["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"]
    (action,) = plan_for(objects)
    assert (action.verb, str(action.target)) == (Verb.APPLY, "Deployment shop-api")
    assert action.why == "somebody else changed spec.replicas"


def test_a_password_is_never_written_again() -> None:
    objects = everything()
    secret = next(obj for obj in objects if obj["metadata"]["name"] == "shop-redis-auth")
    secret["data"] = {"password": "ZWRpdGVk"}
    secret["metadata"]["managedFields"] = []
    assert [action for action in plan_for(objects) if action.target.name == "shop-redis-auth"] == []


def test_a_stateful_set_is_never_pruned() -> None:
    objects = everything()
    stack = a_stack()
    wanted = [item for item in build_stack(stack, a_context()) if item.manifest["kind"] != "StatefulSet"]
    assert plan(stack, wanted, observed(*objects), OPEN) == []


def test_what_somebody_else_made_is_not_pruned() -> None:
    stack = a_stack()
    meta = {"name": "theirs", "namespace": "shop", "uid": "1", "labels": {"appstack.dev/stack": "shop"}}
    foreign: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
    run = copy.deepcopy(foreign) | {"kind": "Job"}
    run["metadata"] |= {"name": "run", "ownerReferences": [owner_reference(stack) | {"uid": "of-the-cron-job"}]}
    assert plan_for([*everything(), foreign, run]) == []

"""Which pod of a data service is made anew next, for a new template or as a cure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.assess.pods import DOUBTED_SECONDS, NODE_SILENT
from appstack_operator.desired.stack import build_stack
from appstack_operator.objects import STACK_LABEL, component_of
from appstack_operator.observed import PostgresAnswers, PostgresMember, RabbitmqAnswers, RabbitmqNode
from appstack_operator.plan import Action, Impact, Verb, plan
from appstack_operator.restarts import REVISION_LABEL, next_restarts, waiting_primary
from tests.unit.operator.factories import NOW, a_context, a_pod, a_stack, observed
from tests.unit.operator.planning import OPEN, everything, plan_for

if TYPE_CHECKING:
    from appstack_operator.objects import Object


def members_of_postgres(*revisions: str, primary: int = 0, unready: int | None = None) -> list[Object]:
    """A running stack whose PostgreSQL pods have these template revisions; the newest is `new`."""
    stack = a_stack()
    objects = everything()
    for stateful_set in (obj for obj in objects if obj["kind"] == "StatefulSet"):
        stateful_set["status"] = {"observedGeneration": 1, "updateRevision": "new", "currentRevision": "old"}
        component, count = component_of(stateful_set), stateful_set["spec"]["replicas"]
        newest = {"controller-revision-hash": "new"}
        objects += [
            a_pod(stack, component, number, labels=newest) for number in range(count) if component != "postgres"
        ]
    for number, revision in enumerate(revisions):
        role = "primary" if number == primary else "replica"
        labels = {"controller-revision-hash": revision, "appstack.dev/role": role}
        objects.append(a_pod(stack, "postgres", number, ready=number != unready, labels=labels))
    return objects


def replica(number: int = 0, **facts: Any) -> PostgresMember:
    """A member that follows the primary, and is its synchronous standby unless told otherwise."""
    return PostgresMember(
        f"shop-postgres-{number}", **{"role": "replica", "state": "streaming", "lag_bytes": 0, "is_sync": True, **facts}
    )


def restarts(objects: list[Object], *replicas: PostgresMember, **spec: Any) -> list[Action]:
    """The plan where the last member of PostgreSQL is primary, and these follow it."""
    stack = a_stack(**spec)
    primary = PostgresMember("shop-postgres-1", role="primary", state="running")
    seen = observed(*objects, postgres=PostgresAnswers((*replicas, primary)))
    actions = plan(stack, build_stack(stack, a_context()), seen, OPEN)
    return [each for each in actions if each.verb is Verb.RESTART]


def test_the_primary_is_restarted_last() -> None:
    (first,) = restarts(members_of_postgres("old", "old", primary=1), replica())
    assert (first.target.name, first.impact) == ("shop-postgres-0", Impact.ROLLING)
    (second,) = restarts(members_of_postgres("new", "old", primary=1), replica())
    assert (second.target.name, second.impact) == ("shop-postgres-1", Impact.FAILOVER)


OFF = {"synchronousReplication": "Off"}


@pytest.mark.parametrize(
    ("mode", "facts", "goes"),
    [
        pytest.param({}, {}, True, id="a synchronous standby"),
        pytest.param({}, {"is_sync": False}, False, id="ready and streaming, and not synchronous yet"),
        pytest.param({}, {"state": "starting"}, False, id="it does not stream"),
        pytest.param({}, {"error": "no answer within 2 s"}, False, id="it does not answer"),
        pytest.param(OFF, {"is_sync": False}, True, id="nobody is to be synchronous"),
        pytest.param(OFF, {"is_sync": False, "lag_bytes": 2**21}, False, id="Patroni would not promote it"),
        pytest.param(OFF, {"is_sync": False, "lag_bytes": None}, False, id="nobody knows how far behind"),
    ],
)
def test_the_primary_waits_for_a_member_that_can_take_over(
    mode: dict[str, Any], facts: dict[str, Any], *, goes: bool
) -> None:
    """All pods are ready in each case."""
    done = restarts(members_of_postgres("new", "old", primary=1), replica(**facts), postgres=mode)
    assert [each.target.name for each in done] == (["shop-postgres-1"] if goes else [])


def test_only_a_primary_that_is_ready_waits() -> None:
    """One that is not may be what the new template repairs."""
    for unready, waits in ((None, "shop-postgres-1"), (1, "")):
        seen = observed(*members_of_postgres("new", "old", primary=1, unready=unready))
        assert waiting_primary(a_stack(), seen) == waits
        assert bool(restarts(members_of_postgres("new", "old", primary=1, unready=unready))) is not bool(waits)


def test_a_primary_that_waits_keeps_no_other_service_waiting() -> None:
    objects = members_of_postgres("new", "old", primary=1)
    for each in objects:
        if each["kind"] == "Pod" and each["metadata"]["name"].startswith("shop-rabbitmq-"):
            each["metadata"]["labels"][REVISION_LABEL] = "old"
    assert [each.target.name for each in restarts(objects, replica(is_sync=False))] == ["shop-rabbitmq-2"]


def test_nobody_is_restarted_as_a_member_is_taken_away() -> None:
    """It may be the primary, which hands over just then."""
    objects = members_of_postgres("old", "new", primary=1)
    assert [each.target.name for each in restarts(objects, replica())] == ["shop-postgres-0"]
    assert restarts(objects, replica(), postgres={"instances": 1}) == []


def test_a_primary_that_is_alone_waits_for_nobody() -> None:
    objects = [each for each in members_of_postgres("old", primary=0) if each["metadata"]["name"] != "shop-postgres-1"]
    for each in objects:
        if (each["kind"], each["metadata"]["name"]) == ("StatefulSet", "shop-postgres"):
            each["spec"]["replicas"] = 1
    assert [each.target.name for each in restarts(objects, postgres={"instances": 1})] == ["shop-postgres-0"]


def test_no_member_is_restarted_while_another_is_away() -> None:
    assert plan_for(members_of_postgres("old", "new", unready=1)) == []


def test_a_broken_member_of_the_old_template_is_restarted_first() -> None:
    (action,) = plan_for(members_of_postgres("old", "old", primary=0, unready=1))
    assert action.target.name == "shop-postgres-1"


RUNS: dict[str, Any] = {"containerStatuses": [{"state": {"running": {}}}]}

CRASHES: dict[str, Any] = {"containerStatuses": [{"state": {"waiting": {}}}]}


def broker_of(*nodes: tuple[str, bool, dict[str, Any]], age_seconds: int = 0) -> list[Object]:
    """A stack of which these are RabbitMQ's nodes: template, whether they are ready, what their server does."""
    objects = [
        obj
        for obj in members_of_postgres("new", "new")
        if obj["kind"] != "Pod" or not obj["metadata"]["name"].startswith("shop-rabbitmq-")
    ]
    made_at = (NOW - timedelta(seconds=age_seconds)).isoformat()
    for number, (revision, ready, state) in enumerate(nodes):
        node = a_pod(a_stack(), "rabbitmq", number, ready=ready, labels={REVISION_LABEL: revision}, **state)
        node["metadata"]["creationTimestamp"] = made_at
        objects.append(node)
    return objects


BUSY, DEAD = ("old", False, RUNS), ("old", False, CRASHES)


@pytest.mark.parametrize(
    ("nodes", "age_seconds", "restarted"),
    [
        pytest.param(
            [("old", True, RUNS), BUSY, BUSY], 0, [2], id="two that run: one of them, or the majority is lost"
        ),
        pytest.param([("old", True, RUNS), BUSY], 900, [], id="the one before has not come back"),
        pytest.param([("old", True, RUNS), BUSY, ("new", False, RUNS)], 9, [], id="the one before still starts"),
        pytest.param([("old", True, RUNS), BUSY, ("new", False, RUNS)], 900, [1], id="perhaps it waits for this one"),
        pytest.param([("old", True, RUNS), BUSY, ("new", False, CRASHES)], 900, [], id="the new template is no good"),
        pytest.param([("old", True, RUNS), BUSY, ("new", True, RUNS)], 9, [1], id="the one before works"),
        pytest.param([DEAD, DEAD, DEAD], 0, [0, 1, 2], id="none runs: nothing is lost"),
        pytest.param([BUSY, DEAD, DEAD], 0, [1, 2], id="those that do not run first"),
    ],
)
def test_unready_nodes_that_run_are_replaced_one_by_one(
    nodes: list[Any], age_seconds: int, restarted: list[int]
) -> None:
    actions = plan_for(broker_of(*nodes, age_seconds=age_seconds))
    assert sorted(action.target.name for action in actions) == [f"shop-rabbitmq-{number}" for number in restarted]


def silent_for(pod: Object, seconds: int) -> None:
    """The operator has found the pod's node silent, and taken the pod out of its Services."""
    said = {"reason": NODE_SILENT, "lastTransitionTime": (NOW - timedelta(seconds=seconds)).isoformat()}
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False", **said}]


@pytest.mark.parametrize("nodes", [[("old", True, RUNS)] * 3, [("old", True, RUNS), DEAD, ("old", True, RUNS)]])
def test_nobody_of_a_service_goes_for_a_silence_that_has_just_begun(nodes: list[Any]) -> None:
    """A broker that serves all others may be silent to the operator alone."""
    objects = broker_of(*nodes)
    silent_for(objects[-1], DOUBTED_SECONDS - 1)
    assert plan_for(objects) == []
    silent_for(objects[-1], DOUBTED_SECONDS)
    assert len(plan_for(objects)) == 1


def test_a_silent_sentinel_keeps_a_broker_that_is_down_from_nothing() -> None:
    objects = broker_of(("old", True, RUNS), DEAD, ("old", True, RUNS))
    (sentinel,) = [
        each for each in objects if (each["kind"], each["metadata"]["name"]) == ("Pod", "shop-redis-sentinel-1")
    ]
    silent_for(sentinel, 0)
    assert [action.target.name for action in plan_for(objects)] == ["shop-rabbitmq-1"]


def test_no_member_is_restarted_while_another_service_is_not_well() -> None:
    objects = members_of_postgres("old", "new")
    sentinel = next(
        obj for obj in objects if obj["metadata"]["name"] == "shop-redis-sentinel-1" and obj["kind"] == "Pod"
    )
    sentinel["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    assert plan_for(objects) == []


def rabbitmq_nodes(*counts: str | None, lists: str = "") -> RabbitmqAnswers:
    """Nodes of a broker: whom each counts in (None: it does not answer), and whom the first one lists."""
    return RabbitmqAnswers(
        nodes=tuple(
            RabbitmqNode(
                f"rabbit@shop-rabbitmq-{number}",
                f"shop-rabbitmq-{number}",
                is_running=True,
                partitions=tuple(f"rabbit@shop-rabbitmq-{other}" for other in lists) if number == 0 else (),
                counts=None if word is None else tuple(f"rabbit@shop-rabbitmq-{other}" for other in word),
            )
            for number, word in enumerate(counts)
        )
    )


def cures(answers: RabbitmqAnswers, objects: list[Object]) -> list[str]:
    """The pods that are restarted in a stack with these objects whose broker answers so."""
    stack = a_stack()
    seen = replace(observed(*objects), rabbitmq=answers)
    actions = plan(stack, build_stack(stack, a_context()), seen, OPEN)
    return [action.target.name for action in actions if action.verb is Verb.RESTART]


def test_the_smaller_side_of_a_partition_that_is_over_is_restarted_one_node_at_a_time() -> None:
    healed = members_of_postgres("new", "new")
    assert cures(rabbitmq_nodes("012", "012", "012"), healed) == []
    assert cures(rabbitmq_nodes("01", "01", "2"), healed) == ["shop-rabbitmq-2"]
    assert cures(rabbitmq_nodes("0", "12", "12"), healed) == ["shop-rabbitmq-0"]
    assert cures(rabbitmq_nodes("0", "1", "2"), healed) == ["shop-rabbitmq-2"]
    assert cures(rabbitmq_nodes("012", "012", "012", lists="2"), healed) == ["shop-rabbitmq-2"]


def test_no_node_is_restarted_for_a_partition_while_one_is_silent_or_away() -> None:
    assert cures(rabbitmq_nodes("01", "01", None), members_of_postgres("new", "new")) == []
    assert cures(rabbitmq_nodes("01", "01", "2"), members_of_postgres("new", "new", unready=1)) == []


def test_a_partition_ends_before_a_new_template_goes_on() -> None:
    """Node 2 of the larger side would go first, and leave 0 and 1 apart: both might pause."""
    old = broker_of(*[("old", True, RUNS)] * 3)
    assert cures(rabbitmq_nodes("0", "12", "12"), old) == ["shop-rabbitmq-0"]
    assert cures(rabbitmq_nodes("01", "01", "2"), members_of_postgres("new", "old")) == ["shop-rabbitmq-2"]
    assert cures(rabbitmq_nodes("012", "012", "012"), old) == ["shop-rabbitmq-2"]


def test_no_node_is_restarted_for_a_template_while_another_is_apart_or_does_not_run() -> None:
    """All pods are ready in each case: that is told by an open port alone."""
    old = broker_of(*[("old", True, RUNS)] * 3)
    apart = rabbitmq_nodes(None, "12", "12")
    stopped = replace(apart, nodes=(replace(apart.nodes[0], is_running=False), *apart.nodes[1:]))
    assert cures(stopped, old) == []
    assert cures(replace(stopped, nodes=stopped.nodes[1:]), old) == [], "one that is no member yet"
    assert cures(rabbitmq_nodes("0", None, "2"), old) == []
    assert cures(RabbitmqAnswers(error="no answer within 2 s"), old) == ["shop-rabbitmq-2"]


def theirs(*, ready: bool = True) -> list[Object]:
    """A StatefulSet of the user under the label of the stack; a partition keeps its pod at its old template."""
    meta = {"name": "search", "namespace": "shop", "uid": "s", "labels": {STACK_LABEL: "shop"}, "generation": 1}
    status = {"observedGeneration": 1, "updateRevision": "new", "currentRevision": "old"}
    pod = a_pod(a_stack(), "", ready=ready)
    labels = {STACK_LABEL: "shop", REVISION_LABEL: "old"}
    pod["metadata"] |= {"name": "search-0", "uid": "theirs", "labels": labels}
    made: Object = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": {"replicas": 1}}
    return [{**made, "status": status}, pod]


@pytest.mark.parametrize("ready", [True, False])
def test_pods_of_a_users_own_set_are_not_ours_to_restart_and_hold_nothing_up(*, ready: bool) -> None:
    assert plan_for([*members_of_postgres("new", "new"), *theirs(ready=ready)]) == []
    ours = restarts([*members_of_postgres("new", "old", primary=1), *theirs(ready=ready)], replica())
    assert [each.target.name for each in ours] == ["shop-postgres-1"]


def test_nobody_is_restarted_while_the_operator_is_cut_off() -> None:
    objects = members_of_postgres("old", "new")
    for pod in objects:
        if pod["kind"] == "Pod" and component_of(pod) in ("redis", "rabbitmq"):
            pod["metadata"]["labels"][REVISION_LABEL] = "old"
    stack = a_stack()
    late: dict[str, Any] = {"error": "no answer within 2 s", "is_late": True}

    def planned(rabbitmq: RabbitmqAnswers) -> list[str]:
        members = tuple(PostgresMember(f"shop-postgres-{number}", **late) for number in range(2))
        seen = observed(*objects, postgres=PostgresAnswers(members), rabbitmq=rabbitmq)
        return [each.pod for each in next_restarts(stack, seen)]

    assert planned(RabbitmqAnswers(**late)) == []
    assert planned(RabbitmqAnswers(error="refused")) == ["shop-rabbitmq-2"], "that one was reached"


def test_a_set_with_the_labels_of_another_service_restarts_none_of_its_pods() -> None:
    """Somebody relabelled it: before that was repaired, the other service's pods were taken for its own, and old."""
    objects = members_of_postgres("newest", "newest", primary=1)
    (moved,) = [each for each in objects if each["kind"] == "StatefulSet" and component_of(each) == "postgres"]
    moved["status"]["updateRevision"] = "newest"
    moved["metadata"]["labels"]["appstack.dev/component"] = "redis"
    assert restarts(objects, replica()) == []

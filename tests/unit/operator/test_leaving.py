"""How many members a data service keeps where fewer are asked for: whoever leads has a successor that stays."""

from __future__ import annotations

from typing import Any

import pytest

from appstack_operator.api.status import Condition
from appstack_operator.assess.redis import sentinels_know_only_ours
from appstack_operator.assess.stack import assess_stack
from appstack_operator.held_back import verdicts_of_waiting
from appstack_operator.leaving import stack_for_now, why_members_stay
from appstack_operator.observed import PostgresAnswers, PostgresMember, RedisAnswers, RedisInstance, SentinelAnswer
from tests.unit.operator.factories import a_context, a_pod, a_stack, healthy_answers, observed
from tests.unit.operator.planning import everything


def a_member(number: int, **facts: Any) -> PostgresMember:
    """A synchronous standby that streams, unless told otherwise."""
    return PostgresMember(
        f"shop-postgres-{number}",
        **{"role": "replica", "state": "streaming", "is_sync": True, "lag_bytes": 0, **facts},
    )


LEADS: dict[str, Any] = {"role": "primary", "state": "running", "is_sync": False}
BROKEN = {"state": "starting", "is_sync": False}


def shrunk(
    *members: PostgresMember, to: int, pods: int | None = None, is_made: bool = True, mode: str = "Preferred"
) -> tuple[int, str]:
    """How many members are asked for, where so many run and fewer are wanted; and what is said of the others."""
    objects = everything(postgres={"instances": len(members), "synchronousReplication": mode})
    for each in objects:
        each["status"] = {"observedGeneration": 1}
        if each["metadata"]["name"] == "shop-postgres-config" and is_made:
            each["metadata"]["annotations"]["initialize"] = "7"
    stack = a_stack(postgres={"instances": to, "synchronousReplication": mode})
    there = [a_pod(stack, "postgres", number) for number in range(len(members) if pods is None else pods)]
    seen = observed(*objects, *there, postgres=PostgresAnswers(members))
    assert stack_for_now(stack, seen).spec.postgres.instances >= to
    return stack_for_now(stack, seen).spec.postgres.instances, why_members_stay("postgres", stack, seen)


@pytest.mark.parametrize(
    ("members", "count", "why"),
    [
        pytest.param([LEADS, {}], 1, "one by one", id="a replica goes"),
        pytest.param([{}, LEADS], 1, "one by one", id="the primary hands over as it goes"),
        pytest.param([BROKEN, LEADS], 2, "shop-postgres-1 is primary and stays", id="nobody else holds the data"),
        pytest.param([{"error": "no answer"}, LEADS], 2, "shop-postgres-0: no answer", id="nobody else answers"),
        pytest.param([{}, {}], 2, "shop-postgres-1 stays until one of the members leads", id="nobody leads"),
        pytest.param([{**LEADS, "state": "starting"}, {}], 2, "until one of the members leads", id="it does not run"),
        pytest.param([LEADS, BROKEN], 1, "one by one", id="what is broken may go"),
    ],
)
def test_postgresql_keeps_its_last_member_while_nobody_else_can_lead(
    members: list[dict[str, Any]], count: int, why: str
) -> None:
    asked, said = shrunk(*(a_member(number, **facts) for number, facts in enumerate(members)), to=1)
    assert asked == count
    assert said.startswith("instances 2 -> 1: ")
    assert why in said


@pytest.mark.parametrize(
    ("members", "count"),
    [
        pytest.param([LEADS, {}, {}], 2, id="another one holds each commit, too"),
        pytest.param([LEADS, BROKEN, {}], 3, id="the last one alone holds each commit"),
        pytest.param([LEADS, BROKEN, BROKEN], 2, id="nobody does: its end ends nothing"),
        pytest.param([{}, {}, LEADS], 2, id="one is to lead, one holds each commit"),
        pytest.param([{}, BROKEN, LEADS], 3, id="one is to lead, and nobody would hold its commits"),
    ],
)
def test_where_commits_wait_for_a_standby_one_has_to_stay(members: list[dict[str, Any]], count: int) -> None:
    broken = [a_member(number, **facts) for number, facts in enumerate(members)]
    asked, said = shrunk(*broken, to=2, mode="Required")
    assert asked == count
    assert ("writes would wait" in said) is (count == 3)
    assert shrunk(*broken, to=2)[0] == 2, "elsewhere commits go on"


def test_members_go_one_by_one() -> None:
    five = [a_member(0, **LEADS), *(a_member(number) for number in range(1, 5))]
    assert shrunk(*five, to=2)[0] == 4
    assert shrunk(*five, to=2, pods=6) == (5, "instances 5 -> 2: another member is still on its way out")


def test_where_there_is_no_database_yet_members_go_at_once() -> None:
    assert shrunk(*(a_member(number, **BROKEN) for number in range(3)), to=1, is_made=False) == (1, "")


def test_what_waits_is_said_after_what_is_wrong() -> None:
    stack = a_stack(postgres={"instances": 1})
    objects = everything(postgres={"instances": 2})
    for each in objects:
        each["status"] = {"observedGeneration": 1, "updateRevision": "1"}
        if each["metadata"]["name"] == "shop-postgres-config":
            each["metadata"]["annotations"]["initialize"] = "7"
    pods = [a_pod(stack, "postgres", number) for number in range(2)]
    for first, status in (({}, "True"), (BROKEN, "False")):
        answers = PostgresAnswers((a_member(0, **first), a_member(1, **LEADS)))
        seen = observed(*objects, *pods, **{**healthy_answers(stack), "postgres": answers})
        before = assess_stack(stack, seen, a_context())
        said = verdicts_of_waiting(stack, seen, a_context(), before)["postgres"]
        assert said.status == status
        assert said.message.startswith("" if status == "True" else before.verdicts["PostgresReady"].message)
        assert "instances 2 -> 1: " in said.message


def a_redis(number: int, **facts: Any) -> RedisInstance:
    """A replica that follows, unless told otherwise."""
    return RedisInstance(f"shop-redis-{number}", **{"role": "slave", "link_up": True, **facts})


MASTER: dict[str, Any] = {"role": "master", "link_up": False}
UNLINKED = {"link_up": False}


def shrunk_redis(*facts: dict[str, Any], to: int, pods: int | None = None, is_new: bool = False) -> tuple[int, str]:
    """How many Redis members are asked for, where so many run and fewer are wanted; and what is said of the others."""
    objects = everything(redis={"replicas": len(facts)})
    for each in objects:
        each["status"] = {"observedGeneration": 1}
    stack = a_stack(redis={"replicas": to})
    if not is_new:
        complete = Condition(
            type="Ready", status="True", reason="Healthy", message="", last_transition_time="", observed_generation=1
        )
        stack = stack.model_copy(update={"status": stack.status.model_copy(update={"conditions": [complete]})})
    there = [a_pod(stack, "redis", number) for number in range(len(facts) if pods is None else pods)]
    instances = tuple(a_redis(number, **each) for number, each in enumerate(facts))
    master = next((each.pod for each in instances if each.role == "master"), "")
    sentinels = (SentinelAnswer("shop-redis-sentinel-0", master=master),) if master else ()
    seen = observed(*objects, *there, redis=RedisAnswers(sentinels, instances))
    return stack_for_now(stack, seen).spec.redis.replicas, why_members_stay("redis", stack, seen)


@pytest.mark.parametrize(
    ("facts", "to", "count", "why"),
    [
        pytest.param([MASTER, {}, {}], 1, 2, "one by one", id="a replica goes"),
        pytest.param([{}, {}, MASTER], 1, 2, "one by one", id="the master hands over as it goes"),
        pytest.param([UNLINKED, {}, MASTER], 1, 3, "shop-redis-0: no link", id="who stays does not follow"),
        pytest.param([UNLINKED, MASTER], 1, 2, "until 1 of those that stay follow shop-redis-1", id="the last step"),
        pytest.param([{"error": "no answer"}, MASTER], 1, 2, "shop-redis-0: no answer", id="who stays does not answer"),
        pytest.param([MASTER, UNLINKED, {}], 1, 2, "one by one", id="who leads stays, and needs nobody"),
        pytest.param([{}, {}, {}, MASTER, {}], 3, 4, "one by one", id="enough of those that stay follow"),
        pytest.param([{}, {}, UNLINKED, MASTER, {}], 3, 4, "one by one", id="one is to lead, one to follow"),
        pytest.param(
            [{}, UNLINKED, UNLINKED, MASTER, {}], 3, 5, "until 2 of those that stay", id="it would refuse writes"
        ),
        pytest.param([{}, {}, {}], 1, 3, "until the Sentinels agree", id="nobody leads"),
    ],
)
def test_redis_keeps_its_last_member_while_those_that_stay_cannot_do_without(
    facts: list[dict[str, Any]], to: int, count: int, why: str
) -> None:
    asked, said = shrunk_redis(*facts, to=to)
    assert asked == count
    assert said.startswith(f"replicas {len(facts)} -> {to}: ")
    assert why in said


def test_a_redis_member_waits_for_the_one_before_it() -> None:
    assert shrunk_redis(MASTER, {}, {}, {}, to=3, pods=5) == (
        4,
        "replicas 4 -> 3: another member is still on its way out",
    )


def test_where_no_redis_has_led_yet_members_go_at_once() -> None:
    assert shrunk_redis(*({"role": "", "link_up": False} for _ in range(5)), to=3, is_new=True) == (3, "")


def test_who_is_still_to_go_is_no_stranger_to_the_sentinels() -> None:
    stack = a_stack(redis={"replicas": 3})
    known = SentinelAnswer("shop-redis-sentinel-0", master="shop-redis-0", replicas=4)
    seen = observed(*everything(redis={"replicas": 5}), redis=RedisAnswers((known,)))
    assert sentinels_know_only_ours(stack, seen) is None
    gone = observed(*everything(redis={"replicas": 3}), redis=RedisAnswers((known,)))
    assert sentinels_know_only_ours(stack, gone) is not None

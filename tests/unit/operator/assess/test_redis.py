"""What is said about Redis: the cause, not the symptom."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.assess.redis import assess_redis, master_takes_writes
from appstack_operator.assess.verdict import Reason
from appstack_operator.desired.redis import build_redis
from appstack_operator.observed import RedisAnswers, RedisInstance, SentinelAnswer
from tests.unit.operator.factories import a_context, a_pod, a_stack, healthy_answers, made, observed, pods

if TYPE_CHECKING:
    from appstack_operator.assess.verdict import Verdict

WELL: RedisAnswers = healthy_answers(a_stack())["redis"]
S0, S1, S2 = WELL.sentinels
MASTER, R1, R2 = WELL.instances
SILENT = "no answer within 2 s"


def verdict(
    sentinels: tuple[SentinelAnswer, ...] = WELL.sentinels,
    instances: tuple[RedisInstance, ...] = WELL.instances,
    **changes: Any,
) -> Verdict:
    stack = a_stack()
    sets = [made(stack, o, updateRevision="2") for o in build_redis(stack, a_context()) if o["kind"] == "StatefulSet"]
    running = changes.get("pods") or [*pods(stack, "redis", 3), *pods(stack, "redis-sentinel", 3)]
    return assess_redis(stack, observed(*sets, *running, redis=RedisAnswers(sentinels, instances)))


def test_a_master_that_all_name_with_linked_replicas_is_healthy() -> None:
    found = verdict()
    assert (found.status, found.reason) == ("True", Reason.HEALTHY)
    assert "shop-redis-0" in found.message


@pytest.mark.parametrize(
    ("sentinels", "reason", "words"),
    [
        pytest.param(
            (S0, S1, replace(S2, replicas=4)),
            Reason.MASTER_DISPUTED,
            ["shop-redis-sentinel-2", "4 replicas", "stranger"],
            id="one knows a foreign replica",
        ),
        pytest.param(
            (S0, replace(S1, other_sentinels=3), S2),
            Reason.MASTER_DISPUTED,
            ["shop-redis-sentinel-1", "3 other Sentinels", "stranger"],
            id="groups have merged",
        ),
        pytest.param(
            (S0, replace(S1, error=SILENT), replace(S2, error=SILENT)),
            Reason.NO_SENTINEL_QUORUM,
            ["1 of 3", "shop-redis-sentinel-1"],
            id="most are silent",
        ),
        pytest.param(
            (S0, S1, replace(S2, master="shop-redis-1")),
            Reason.MASTER_DISPUTED,
            ["shop-redis-0", "shop-redis-1"],
            id="they name two",
        ),
        pytest.param(
            tuple(replace(each, master="10.9.9.9") for each in WELL.sentinels),
            Reason.MASTER_DISPUTED,
            ["10.9.9.9", "no pod of this stack"],
            id="they name a stranger",
        ),
        pytest.param(
            tuple(replace(each, has_quorum=False) for each in WELL.sentinels),
            Reason.NO_SENTINEL_QUORUM,
            ["shop-redis-sentinel-0"],
            id="they do not see each other",
        ),
    ],
)
def test_what_sentinels_say_is_told(sentinels: tuple[SentinelAnswer, ...], reason: Reason, words: list[str]) -> None:
    found = verdict(sentinels=sentinels)
    assert (found.status, found.reason) == ("False", reason)
    assert all(word in found.message for word in words)


@pytest.mark.parametrize(
    ("instances", "reason", "words"),
    [
        pytest.param(
            (replace(MASTER, role="slave"), R1, R2),
            Reason.MASTER_DISPUTED,
            ["shop-redis-0", "says that it is a slave"],
            id="the named master does not think so",
        ),
        pytest.param(
            (RedisInstance("shop-redis-0", error=SILENT), R1, R2),
            Reason.MASTER_DISPUTED,
            ["shop-redis-0", SILENT],
            id="the master is silent",
        ),
        pytest.param(
            (MASTER, replace(R1, role="master"), R2),
            Reason.MASTER_DISPUTED,
            ["shop-redis-1 says that it is master, too", "Sentinels name shop-redis-0"],
            id="there are two masters",
        ),
        pytest.param(
            (MASTER, replace(R1, role="master", disk_fails=True), R2),
            Reason.MASTER_DISPUTED,
            ["shop-redis-1 says that it is master, too"],
            id="a former master's disk is full",
        ),
        pytest.param(
            (replace(MASTER, good_replicas=0), R1, R2),
            Reason.REPLICA_MISSING,
            ["refuses writes"],
            id="nobody follows the master",
        ),
        pytest.param(
            (replace(MASTER, disk_fails=True), R1, R2),
            Reason.MASTER_DISPUTED,
            ["shop-redis-0", "refuses writes", "its disk takes no writes"],
            id="the master's disk is full",
        ),
        pytest.param(
            (MASTER, replace(R1, disk_fails=True), R2),
            Reason.REPLICA_LAGGING,
            [R1.pod, "its disk takes no writes"],
            id="a replica's disk is full",
        ),
        pytest.param(
            (MASTER, replace(R1, link_up=False), R2),
            Reason.REPLICA_LAGGING,
            ["shop-redis-1", "not linked"],
            id="a replica lost its link",
        ),
        pytest.param(
            (MASTER, replace(R1, lag_bytes=50 * 2**20), R2),
            Reason.REPLICA_LAGGING,
            ["shop-redis-1", "50 MiB"],
            id="a replica is far behind",
        ),
    ],
)
def test_what_the_instances_say_is_told(instances: tuple[RedisInstance, ...], reason: Reason, words: list[str]) -> None:
    found = verdict(instances=instances)
    assert (found.status, found.reason) == ("False", reason)
    assert all(word in found.message for word in words)


def test_a_missing_pod_is_named() -> None:
    stack = a_stack()
    running = [*pods(stack, "redis", 2), a_pod(stack, "redis", 2, ready=False), *pods(stack, "redis-sentinel", 3)]
    found = verdict(pods=running)
    assert (found.reason, "shop-redis-2" in found.message) == (Reason.REPLICA_MISSING, True)


def test_a_group_that_nobody_has_started_yet_is_being_made() -> None:
    sentinels = tuple(SentinelAnswer(each.pod, error="refused") for each in WELL.sentinels)
    instances = tuple(RedisInstance(each.pod, error="refused") for each in WELL.instances)
    assert verdict(sentinels, instances).reason is Reason.CREATING


def test_a_master_that_asks_for_no_replica_takes_writes_while_a_larger_group_is_being_made() -> None:
    """Its keeper sets a limit only once it would be met."""
    alone = replace(MASTER, good_replicas=0, takes_writes_alone=True)
    seen = replace(observed(), redis=RedisAnswers(instances=(alone,), sentinels=WELL.sentinels))
    assert master_takes_writes(a_stack(redis={"replicas": 3}), seen) is None


@pytest.mark.parametrize(("good", "says"), [(2, None), (1, "1 of 2 needed replicas follow"), (0, "no replica follows")])
def test_a_master_of_four_needs_two_replicas(good: int, says: str | None) -> None:
    seen = replace(
        observed(), redis=RedisAnswers(instances=(replace(MASTER, good_replicas=good),), sentinels=WELL.sentinels)
    )
    verdict = master_takes_writes(a_stack(redis={"replicas": 4}), seen)
    assert (verdict is None) is (says is None)
    assert verdict is None or str(says) in verdict.message

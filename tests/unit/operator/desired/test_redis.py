"""What Redis of a stack looks like."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from appstack_operator.desired.redis import build_redis
from appstack_operator.objects import ROLE_LABEL
from tests.unit.operator.factories import a_context, a_stack


def built(kind: str, name: str, **redis: Any) -> dict[str, Any]:
    return next(
        obj
        for obj in build_redis(a_stack(redis=redis), a_context())
        if (obj["kind"], obj["metadata"]["name"]) == (kind, name)
    )


def files(**redis: Any) -> dict[str, str]:
    data: dict[str, str] = built("ConfigMap", "shop-redis", **redis)["data"]
    return data


def members(**redis: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(files(**redis)["members.json"])
    return parsed


def test_pods_wait_for_the_addresses_that_they_announce() -> None:
    kinds = [obj["kind"] for obj in build_redis(a_stack(), a_context(addresses={}))]
    assert "StatefulSet" not in kinds
    assert kinds.count("Service") == 10


def test_every_pod_has_an_address_of_its_own_also_while_it_is_not_ready() -> None:
    # Host names need DNS at the worst moment, pod addresses are used again: both cost others their data.
    service = built("Service", "shop-redis-1")["spec"]
    assert service["selector"]["statefulset.kubernetes.io/pod-name"] == "shop-redis-1"
    assert service["publishNotReadyAddresses"] is True
    assert members()["redis"] == {f"shop-redis-{i}": f"10.0.0.{i}" for i in range(3)}


def test_no_two_stacks_call_their_master_the_same() -> None:
    assert members()["masterName"] == "shop.shop"
    assert "sentinel down-after-milliseconds shop.shop 3000" in files()["sentinel.conf"]


@pytest.mark.parametrize(("replicas", "needed"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_a_master_without_replicas_takes_no_writes_unless_it_is_alone_by_wish(replicas: int, needed: int) -> None:
    """Half of the group, so that one replica on its side of a cut does not do; more than one is the keepers' to set."""
    assert f"min-replicas-to-write {min(needed, 1)}\n" in files(replicas=replicas)["redis.conf"]
    assert members(replicas=replicas)["minReplicas"] == needed


def test_a_master_that_lost_its_replicas_takes_no_writes_4_seconds_later() -> None:
    """Whole seconds end up to one later, and Redis looks once a second."""
    (lag,) = re.findall(r"^min-replicas-max-lag (\d+)$", files()["redis.conf"], re.MULTILINE)
    assert int(lag) + 1 + 1 <= 4


def test_data_survives_a_restart_of_all_members() -> None:
    conf = files()["redis.conf"]
    assert "appendonly yes\n" in conf
    claim = built("StatefulSet", "shop-redis")["spec"]["volumeClaimTemplates"][0]
    assert claim["metadata"]["name"] == "data"


def test_the_container_holds_the_data_twice() -> None:
    container = built("StatefulSet", "shop-redis", maxMemory="1Gi")["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["memory"] == "2176Mi"
    assert "maxmemory 1073741824\n" in files(maxMemory="1Gi")["redis.conf"]


def test_a_larger_group_restarts_no_member() -> None:
    before, after = built("StatefulSet", "shop-redis"), built("StatefulSet", "shop-redis", replicas=5)
    assert before["spec"]["template"] == after["spec"]["template"]


def test_more_sentinels_need_a_larger_quorum_and_learn_it_by_a_restart() -> None:
    before = built("StatefulSet", "shop-redis-sentinel")
    after = built("StatefulSet", "shop-redis-sentinel", sentinels=5)
    assert before["spec"]["template"] != after["spec"]["template"]


def test_the_agent_may_label_redis_pods_and_nothing_else() -> None:
    rules = built("Role", "shop-redis-sentinel")["rules"]
    assert rules == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {
            "apiGroups": [""],
            "resources": ["pods"],
            "resourceNames": ["shop-redis-0", "shop-redis-1", "shop-redis-2"],
            "verbs": ["patch"],
        },
    ]


def test_redis_itself_has_no_key_to_the_api_server() -> None:
    assert built("StatefulSet", "shop-redis")["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_a_sentinel_that_is_evicted_goes_on_for_longer_than_a_failover_takes() -> None:
    container = built("StatefulSet", "shop-redis-sentinel")["spec"]["template"]["spec"]["containers"][0]
    assert container["name"] == "sentinel"
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5


def test_clients_without_sentinel_find_the_master_by_its_label() -> None:
    assert built("Service", "shop-redis-rw")["spec"]["selector"][ROLE_LABEL] == "master"
    assert built("Service", "shop-redis-rw")["spec"]["publishNotReadyAddresses"]  # the label alone decides


def test_a_member_that_waits_on_purpose_is_left_alone() -> None:
    container = built("StatefulSet", "shop-redis")["spec"]["template"]["spec"]["containers"][0]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": 6380, "scheme": "HTTP"}


def test_no_password_stands_in_a_manifest() -> None:
    assert "redis-password" not in json.dumps(build_redis(a_stack(), a_context()))

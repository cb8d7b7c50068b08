"""Which master the role labels of the Redis pods name, and when they name nobody."""

from __future__ import annotations

from pathlib import Path

import pytest
from appstack_redis import kube, roles
from appstack_redis.kube import Pod
from appstack_redis.settings import Group, Settings

PODS = {"shop-redis-0": "10.0.0.1", "shop-redis-1": "10.0.0.2"}
OLD, NEW = PODS.values()
GROUP = Group("shop.shop", PODS, {}, 1)


class Cluster:
    """The labels as the API server has them, and the master that most Sentinels name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.role_of: dict[str, str | None] = {"shop-redis-0": "master", "shop-redis-1": "replica"}
        self.named: str | None = OLD
        self.refuses = self.lists_nothing = False
        self.writes = 0
        self.written: list[str] = []
        monkeypatch.setattr(Settings, "group", lambda _: GROUP)
        monkeypatch.setattr(roles, "ask_until_agreed", lambda *_: self.named)
        monkeypatch.setattr(kube, "set_label", self.set_label)
        monkeypatch.setattr(kube, "pods", self.pods)
        folder = Path("/nowhere")
        self.labels = roles.Labels(Settings("shop-redis-sentinel-0", "secret", folder, folder, folder), "redis")

    def set_label(self, pod: str, _label: str, role: str | None) -> None:
        if self.refuses:
            raise OSError("503 Service Unavailable")
        if pod not in self.role_of:
            raise OSError("404 Not Found")
        self.role_of[pod] = role
        self.writes += 1
        self.written.append(pod)

    def pods(self, _selector: str) -> dict[str, Pod]:
        if self.lists_nothing:
            raise OSError("timed out")
        return {pod: Pod({roles.ROLE_LABEL: role or ""}) for pod, role in self.role_of.items()}

    @property
    def masters(self) -> list[str]:
        return [pod for pod, role in self.role_of.items() if role == "master"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    found = Cluster(monkeypatch)
    found.labels.follow(OLD, is_lost=False)
    return found


def test_the_labels_follow_the_master(cluster: Cluster) -> None:
    cluster.named = NEW
    cluster.labels.follow(NEW, is_lost=False)
    assert cluster.masters == ["shop-redis-1"]
    assert cluster.labels.master == NEW


def test_both_labels_move_before_anybody_is_listed(cluster: Cluster) -> None:
    """On a busy machine the list took half a second, for which nobody was in `-rw`."""
    cluster.named, cluster.lists_nothing = NEW, True
    with pytest.raises(OSError, match="timed out"):
        cluster.labels.follow(NEW, is_lost=False)
    assert cluster.masters == ["shop-redis-1"]
    assert cluster.written == ["shop-redis-1", "shop-redis-0"], "kube-proxy may wait for a second between two changes"
    assert cluster.labels.master is None, "it is looked at again"


def test_a_loser_whose_pod_is_gone_keeps_nobody_from_leading(cluster: Cluster) -> None:
    cluster.named = NEW
    del cluster.role_of["shop-redis-0"]
    cluster.labels.follow(NEW, is_lost=False)
    assert cluster.masters == ["shop-redis-1"]
    assert cluster.labels.master == NEW


def test_a_master_that_is_being_replaced_leaves_before_its_successor_comes(cluster: Cluster) -> None:
    cluster.labels.follow(OLD, is_lost=True)
    assert cluster.masters == []
    cluster.labels.follow(OLD, is_lost=True)
    assert cluster.writes == 1, "once is enough"
    cluster.named = NEW
    cluster.labels.follow(NEW, is_lost=False)
    assert cluster.masters == ["shop-redis-1"]


def test_a_failover_that_fails_brings_the_former_master_back(cluster: Cluster) -> None:
    cluster.labels.follow(OLD, is_lost=True)
    cluster.labels.follow(OLD, is_lost=False)
    assert cluster.masters == ["shop-redis-0"]
    cluster.labels.follow(OLD, is_lost=True)
    assert cluster.masters == [], "the next attempt"


def test_a_sentinel_that_is_silent_for_a_moment_brings_nobody_back(cluster: Cluster) -> None:
    cluster.labels.follow(OLD, is_lost=None)
    assert cluster.masters == ["shop-redis-0"]
    cluster.labels.follow(OLD, is_lost=True)
    cluster.labels.follow(OLD, is_lost=None)
    assert cluster.masters == []


def test_a_label_that_was_not_taken_off_is_tried_again(cluster: Cluster) -> None:
    cluster.refuses = True
    with pytest.raises(OSError, match="503"):
        cluster.labels.follow(OLD, is_lost=True)
    cluster.refuses = False
    cluster.labels.follow(OLD, is_lost=True)
    assert cluster.masters == []


def test_labels_that_were_not_written_are_tried_again(cluster: Cluster) -> None:
    cluster.named, cluster.refuses = NEW, True
    with pytest.raises(OSError, match="503"):
        cluster.labels.follow(NEW, is_lost=False)
    cluster.refuses = False
    cluster.labels.follow(NEW, is_lost=False)
    assert cluster.masters == ["shop-redis-1"]


def test_nothing_is_written_while_sentinels_do_not_agree(cluster: Cluster) -> None:
    cluster.named = None
    cluster.labels.follow(NEW, is_lost=False)
    assert cluster.masters == ["shop-redis-0"]
    assert cluster.labels.master is None


def test_a_master_whose_pod_is_gone_has_no_label_to_lose(cluster: Cluster) -> None:
    del cluster.role_of["shop-redis-0"]
    cluster.labels.follow(OLD, is_lost=True)
    assert cluster.writes == 0

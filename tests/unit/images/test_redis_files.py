"""What the keepers write: the record on the volume, Sentinel's configuration, the role labels."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
from appstack_redis import kube, roles, sentinel
from appstack_redis.record import Record, load, save
from appstack_redis.roles import changes
from appstack_redis.sentinel import configuration, identity, with_members
from appstack_redis.settings import Group, Settings

if TYPE_CHECKING:
    from pathlib import Path

REDIS = {"shop-redis-0": "10.0.0.1", "shop-redis-1": "10.0.0.2"}
SENTINELS = {"shop-redis-sentinel-0": "10.0.1.1"}
GROUP = Group("shop.shop", REDIS, SENTINELS, 1)
MEMBERS = json.dumps({"masterName": "shop.shop", "redis": REDIS, "sentinels": SENTINELS, "minReplicas": 1})
BASE = "port 26379\nsentinel down-after-milliseconds shop.shop 3000\n"
LABEL = "appstack.dev/role"


def test_a_record_survives_and_an_empty_or_torn_one_counts_as_no_data(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert load(path) == Record()
    save(path, Record(4, 1234, was_master=True))
    assert load(path) == Record(4, 1234, was_master=True)
    for text in ('{"generation": 4,', "null", "[4]", '{"generation": null, "offset": 1, "was_master": true}'):
        path.write_text(text)
        assert load(path) == Record()


def test_what_is_said_about_a_master_follows_the_line_that_names_it() -> None:
    lines = configuration(BASE, GROUP, "shop-redis-sentinel-0", "secret", "10.0.0.1").splitlines()
    monitor = lines.index("sentinel monitor shop.shop 10.0.0.1 6379 1")
    assert lines.index("sentinel down-after-milliseconds shop.shop 3000") > monitor
    assert lines.index("port 26379") < monitor


def test_a_sentinel_knows_every_member_before_any_master_answers_it_and_none_twice() -> None:
    first = configuration(BASE, GROUP, "shop-redis-sentinel-0", "secret", "10.0.0.1")
    known = with_members(first, GROUP)
    assert known == first + "sentinel known-replica shop.shop 10.0.0.2 6379\n"
    assert with_members(known, GROUP) == known
    grown = Group(GROUP.master_name, {**REDIS, "shop-redis-2": "10.0.0.3"}, SENTINELS, 1)
    assert with_members(known, grown) == known + "sentinel known-replica shop.shop 10.0.0.3 6379\n"


def test_sentinels_ask_for_a_password_and_give_it() -> None:
    lines = configuration(BASE, GROUP, "shop-redis-sentinel-0", 'se"cret', "10.0.0.1").splitlines()
    quoted = r'"se\"cret"'
    assert {f"requirepass {quoted}", f"sentinel sentinel-pass {quoted}"} <= set(lines)
    assert f"sentinel auth-pass shop.shop {quoted}" in lines


def test_a_sentinel_keeps_its_identity_and_no_two_stacks_share_one() -> None:
    other = Group("other.shop", GROUP.redis, GROUP.sentinels)
    assert identity(GROUP, "shop-redis-sentinel-0") == identity(GROUP, "shop-redis-sentinel-0")
    assert identity(GROUP, "shop-redis-sentinel-0") != identity(other, "shop-redis-sentinel-0")


def labelled(role: str | None = None, *, is_ending: bool = False) -> kube.Pod:
    return kube.Pod({LABEL: role} if role else {}, is_ending)


def test_the_loser_s_label_goes_before_the_winner_s_comes() -> None:
    pods = {"shop-redis-1": labelled("replica"), "shop-redis-0": labelled("master"), "shop-redis-2": labelled()}
    assert changes("shop-redis-1", pods) == [
        ("shop-redis-0", "replica"),
        ("shop-redis-2", "replica"),
        ("shop-redis-1", "master"),
    ]


def test_the_winner_s_label_comes_before_that_of_a_loser_goes_which_is_being_deleted() -> None:
    pods = {"shop-redis-0": labelled("master", is_ending=True), "shop-redis-1": labelled("replica")}
    assert changes("shop-redis-1", pods) == [("shop-redis-1", "master"), ("shop-redis-0", "replica")]


def test_right_labels_are_left_alone() -> None:
    assert changes("shop-redis-0", {"shop-redis-0": labelled("master"), "shop-redis-1": labelled("replica")}) == []


def test_the_winner_is_labelled_although_a_member_that_is_scaled_away_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = []

    def set_label(pod: str, _label: str, role: str | None) -> None:
        if pod == "shop-redis-4":
            raise OSError("403 Forbidden")
        written.append((pod, role))

    monkeypatch.setattr(kube, "set_label", set_label)
    with pytest.raises(OSError, match="403"):
        roles.write([("shop-redis-4", "replica"), ("shop-redis-0", "master")])
    assert written == [("shop-redis-0", "master")]


def test_a_sentinel_that_is_killed_while_it_writes_its_configuration_starts_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sentinel.conf").write_text(BASE)
    settings = Settings("shop-redis-sentinel-0", "secret", tmp_path, tmp_path / "data", tmp_path)
    settings.data_dir.mkdir()
    (tmp_path / "members.json").write_text(MEMBERS)
    started = []

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sentinel, "find_master", lambda _: (GROUP, "10.0.0.1"))
    monkeypatch.setattr(os, "execvpe", lambda *command: started.append(command))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", killed)
        sentinel.run(settings)
    file = settings.data_dir / "sentinel.conf"
    assert not file.exists()
    sentinel.run(settings)
    assert "requirepass" in file.read_text()
    assert "sentinel known-replica shop.shop 10.0.0.2 6379" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ((*command, environment),) = started
    assert command == ["redis-sentinel", ["redis-sentinel", str(file)]]
    assert environment == os.environ | {"LD_PRELOAD": sentinel.PRELOADED}

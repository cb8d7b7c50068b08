"""Which settings of PostgreSQL the agent beside a member lets through: the programs in the image are asked."""

from __future__ import annotations

import json

import pytest

from appstack_operator.desired.postgres import settings
from tests.backend.kit import servers
from tests.backend.kit.rootfs import Box
from tests.unit.operator.factories import a_stack

# In the image: judges what it is given, and says how many files it leaves behind.
ASK = """
import json, os, sys
sys.path.insert(0, "/usr/local/lib/appstack")
import parameters
parameters.address_space = lambda: str(2**30 + parameters.PROGRAM_BYTES)  # a container's limit
print(json.dumps(parameters.judge(*json.loads(sys.argv[1]))))
print(sorted(os.listdir("/tmp")))
"""
REFUSED = {
    "work_mem": ("banana", 'invalid value for parameter "work_mem"'),
    "max_connections": ("100000000", "outside the valid range"),
    "nothere": ("1", 'unrecognized configuration parameter "nothere"'),
    "log_timezone": ("Nowhere", "Nowhere"),
    "wal_compression": ("zip", "pglz"),
    "block_size": ("4096", "cannot be changed"),
    "bonjour": ("on", "not supported"),
    "max_locks_per_transaction": ("16", "Patroni"),  # PostgreSQL would take it
}
REFUSED_BY_A_START = {
    "a library that is not there": ("shared_preload_libraries", "nothere", 'could not access file "nothere"'),
    "more memory than there is": ("shared_buffers", "2GB", "could not map anonymous shared memory"),
    "no connections left": ("superuser_reserved_connections", "200", "must be less than"),
}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return Box("postgres", servers.POSTGRES_USER, tmp_path_factory.mktemp("settings"))


def judged(box: Box, proposed: dict[str, str], in_force: dict[str, str] | None = None) -> dict[str, list[str]]:
    """What is refused, beside the settings of a stack."""
    given = json.dumps([settings(a_stack(), in_force or {}), proposed])
    said = box.run("env", servers.PATH, "python3", "-c", ASK, given).splitlines()
    assert "trial" not in said[-1], "a trial leaves nothing behind"
    assert "check" not in said[-1], "nor does a question"
    found: dict[str, list[str]] = json.loads(said[-2])
    return found


def test_each_refused_setting_is_named_with_its_value_and_why(box: Box) -> None:
    found = judged(box, {name: value for name, (value, _) in REFUSED.items()} | {"log_lock_waits": "on"})
    assert {name: value for name, (value, _) in found.items()} == {name: value for name, (value, _) in REFUSED.items()}
    assert [found[name][1] for name, (_, why) in REFUSED.items() if why not in found[name][1]] == []


@pytest.mark.parametrize(("name", "value", "why"), REFUSED_BY_A_START.values(), ids=list(REFUSED_BY_A_START))
def test_a_server_that_would_not_start_is_tried_out_beside(box: Box, name: str, value: str, why: str) -> None:
    found = judged(box, {name: value, "log_lock_waits": "on"})
    assert list(found) == [name]
    assert found[name][0] == value
    assert why in found[name][1]


def test_good_settings_pass_those_that_need_a_start_too(box: Box) -> None:
    good = {
        "work_mem": "8MB",
        "shared_buffers": "64MB",
        "max_connections": "80",
        "shared_preload_libraries": "pg_stat_statements",
        "log_timezone": "Europe/Berlin",
        "logging_collector": "on",
        "auto_explain.log_min_duration": "5",
        "search_path": '"$user", public',
    }
    assert judged(box, good) == {}


def test_what_is_in_force_unseen_is_looked_at_too(box: Box) -> None:
    found = judged(box, {}, {"log_timezone": "Nowhere"})
    assert list(found) == ["log_timezone"]

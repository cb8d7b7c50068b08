"""When a standby may take the leader lock off a primary that has gone silent."""

from __future__ import annotations

import json

import pytest
from release_rules import NOTE, Attempt, Sign, Step, Stored, Watch, address_of, found_silent, is_fit

PATIENCE = 3.0
OLD, ME = "shop-postgres-0", "shop-postgres-1"


def a_lock(holder: str = OLD, renewed: int = 1, version: str = "7") -> Stored:
    return Stored(version, {"leader": holder, "renewTime": str(renewed), "acquireTime": "1", "transitions": "0"})


def watched(*looks: tuple[float, Stored]) -> Watch:
    watch = Watch(ME)
    for now, lock in looks:
        watch = watch.look(lock, now)
    return watch


def silent(watch: Watch, rounds: int = 2) -> Watch:
    for _ in range(rounds):
        watch = watch.heard(Sign.NOTHING)
    return watch


def still(seconds: float) -> Watch:
    """A watch that has seen the lock stand still for that long, looking twice a second."""
    return watched(*((100 + step / 2, a_lock()) for step in range(int(seconds * 2) + 1)))


def test_it_waits_for_three_renewals_and_two_rounds_of_silence() -> None:
    assert silent(still(3.0)).has_waited(PATIENCE)
    assert not silent(still(2.5)).has_waited(PATIENCE)
    assert not silent(still(3.0), rounds=1).has_waited(PATIENCE)


def test_one_answer_of_the_primary_ends_the_suspicion() -> None:
    assert not silent(still(30.0), rounds=9).heard(Sign.ANSWER).has_waited(PATIENCE)


def test_the_primary_is_asked_only_when_a_renewal_is_overdue() -> None:
    assert not still(1.0).is_suspicious(PATIENCE)
    assert still(1.5).is_suspicious(PATIENCE)


def test_a_renewal_starts_the_count_anew() -> None:
    watch = silent(still(2.5)).look(a_lock(renewed=2, version="8"), 102.6)
    assert not silent(watch).look(a_lock(renewed=2, version="8"), 103.1).has_waited(PATIENCE)


def test_whoever_slept_has_missed_renewals_and_counts_anew() -> None:
    # A standby that was paused must not take its own absence for the primary's.
    assert not silent(watched((100.0, a_lock()), (200.0, a_lock()))).has_waited(PATIENCE)


def test_whoever_is_short_of_processor_time_itself_counts_anew() -> None:
    assert not silent(still(3.0).look(a_lock(), 103.2, late_seconds=0.5)).has_waited(PATIENCE)


def test_a_primary_whose_machine_accepts_connections_is_given_more_time() -> None:
    assert not silent(still(4.0)).heard(Sign.MUTE).has_waited(PATIENCE)
    assert silent(still(4.5)).heard(Sign.MUTE).has_waited(PATIENCE)
    assert not still(4.0).heard(Sign.MUTE).heard(Sign.NOTHING).has_waited(PATIENCE)


def test_a_primary_whose_pod_is_gone_is_waited_for_until_a_renewal_is_overdue_and_no_longer() -> None:
    assert still(1.5).heard(Sign.GONE).has_waited(PATIENCE)
    assert not still(1.0).heard(Sign.GONE).has_waited(PATIENCE)
    # Somebody answers there after all, or Kubernetes does not say it again: all rounds and all patience are needed.
    assert not still(1.5).heard(Sign.GONE).heard(Sign.ANSWER).has_waited(PATIENCE)
    assert not still(1.5).heard(Sign.GONE).heard(Sign.NOTHING).has_waited(PATIENCE)


@pytest.mark.parametrize("holder", [ME, ""])
def test_nobody_takes_a_lock_that_is_its_own_or_free(holder: str) -> None:
    watch = watched(*((100 + step / 2, a_lock(holder)) for step in range(9)))
    assert not silent(watch).has_waited(PATIENCE)


def test_a_primary_whose_address_is_unknown_cannot_be_asked() -> None:
    assert address_of(a_lock(), OLD) == ""
    members = json.dumps({OLD: "http://10.0.0.1:8008/patroni"})
    assert address_of(Stored("1", {"failsafe": members}), OLD) == "10.0.0.1"
    assert address_of(Stored("1", {"failsafe": "not JSON"}), OLD) == ""


@pytest.mark.parametrize(
    ("status", "fit"),
    [
        ({"role": "replica", "state": "running"}, True),
        ({"role": "replica", "state": "running", "pause": True}, False),
        ({"role": "replica", "state": "starting"}, False),
        ({"role": "primary", "state": "running"}, False),
        ({}, False),
    ],
)
def test_only_a_running_replica_that_nobody_paused_is_fit(status: dict[str, object], fit: bool) -> None:
    assert is_fit(status) is fit


def a_sync(standbys: str = ME, leader: str = OLD, version: str = "9", quorum: str = "0") -> Stored:
    return Stored(version, {"leader": leader, "sync_standby": standbys, "quorum": quorum})


def begun() -> Attempt:
    return Attempt(ME, silent(still(3.0)).record)


def test_an_attempt_reads_then_touches_then_releases_each_at_the_version_it_saw() -> None:
    attempt, requests = begun(), []
    for answer in (a_lock(), a_sync(), a_sync(version="10"), a_lock(holder="", version="8")):
        requests.append(attempt.request)
        attempt = attempt.after(answer)
    assert (attempt.step, attempt.why_not) == (Step.DONE, "")
    assert [(each.suffix, each.version) for each in requests] == [
        ("leader", ""),
        ("sync", ""),
        ("sync", "9"),
        ("leader", "7"),
    ]
    assert requests[3].change is not None
    assert requests[3].change["leader"] is None


def test_a_lock_that_was_renewed_meanwhile_is_left_alone() -> None:
    assert begun().after(a_lock(renewed=2, version="8")).why_not == "the lock was renewed"


@pytest.mark.parametrize(
    "sync",
    [
        a_sync(standbys=""),
        a_sync(standbys="shop-postgres-2"),
        a_sync(standbys=f"{ME},shop-postgres-2"),  # quorum: the other may hold a commit that we do not
        a_sync(quorum="1"),
        a_sync(leader="shop-postgres-2"),
        Stored("9", {}),
    ],
    ids=["nobody", "another", "two", "one of a quorum", "of another primary", "never written"],
)
def test_only_the_one_recorded_standby_of_that_primary_goes_on(sync: Stored) -> None:
    attempt = begun().after(a_lock()).after(sync)
    assert attempt.step is Step.DONE
    assert "not the one recorded" in attempt.why_not


@pytest.mark.parametrize("answered", range(4))
def test_an_attempt_ends_with_the_first_request_that_fails(answered: int) -> None:
    attempt = begun()
    for answer in (a_lock(), a_sync(), a_sync())[:answered]:
        attempt = attempt.after(answer)
    assert "the store did not" in attempt.after(None).why_not


def test_the_loser_of_a_lock_is_known_until_somebody_takes_it() -> None:
    attempt = Attempt(ME, ("shop-postgres-0", "12:00:01", "1", "0", ""), step=Step.RELEASE)
    change = attempt.request.change
    assert change is not None
    free = {"renewTime": "12:00:01", "acquireTime": "1", NOTE: change[NOTE] or ""}
    assert found_silent(free) == OLD
    assert found_silent({**free, "leader": ME}) == ""
    # The note stays where it is; of a lock that was renewed since, and then given up or lost, it says nothing.
    assert found_silent({**free, "renewTime": "12:00:02"}) == ""
    assert found_silent({"renewTime": "12:00:01"}) == ""
    assert found_silent({NOTE: "by hand"}) == ""

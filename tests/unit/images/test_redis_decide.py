"""Who may start as a Redis master: the rules that keep an empty or old volume from winning."""

from __future__ import annotations

import pytest
from appstack_redis.decide import (
    PATIENCE_SECONDS,
    PATIENCE_WITH_SILENCE_SECONDS,
    PATIENCE_WITHOUT_DATA_SECONDS,
    Answer,
    Decision,
    Member,
    Step,
    agreed_master,
    has_waited_in_vain,
    may_be_followed,
    may_be_given_up,
    may_be_promoted,
    named_master,
    newest_member,
    next_step,
    undisputed_master,
)
from hypothesis import given
from hypothesis import strategies as st

ME, B, C = "shop-redis-0", "shop-redis-1", "shop-redis-2"


def group(*members: Member) -> dict[str, Member]:
    return {member.pod: member for member in members}


def decided(named: str | None, *members: Member, waited: float = 0.0, me: str = ME, size: int = 3) -> Decision:
    return next_step(me, named, group(*members), size, 1 if size > 1 else 0, waited)


def test_a_member_follows_whom_the_sentinels_name() -> None:
    decision = decided(B, Member(ME, generation=9))
    assert (decision.step, decision.master) == (Step.FOLLOW, B)


def test_a_named_member_hands_over_where_others_hold_the_data_in_memory() -> None:
    # The bug of others: a restarted, empty pod looked like the master it was, and all replicas copied it.
    assert decided(ME, Member(ME), Member(B, 4, 100, in_sync=True)).step is Step.HAND_OVER


def test_a_named_member_also_hands_over_with_data_on_its_disk() -> None:
    # The disk is up to a second old; the replicas' memory is not.
    assert decided(ME, Member(ME, 4, 999, was_master=True), Member(B, 4, 100, in_sync=True)).step is Step.HAND_OVER


def test_nobody_hands_over_to_a_member_that_is_stopping() -> None:
    heir = Member(B, 4, 100, in_sync=True, stopping=True)
    assert decided(ME, Member(ME, 4, 200, was_master=True), heir, Member(C, 4, 90)).step is Step.LEAD


def test_after_a_restart_of_the_whole_group_the_newest_data_leads() -> None:
    members = (Member(ME, 3, 500), Member(B, 3, 700), Member(C, 3, 600))
    assert [decided(None, *members, me=pod).step for pod in (ME, B, C)] == [Step.WAIT, Step.LEAD, Step.WAIT]


def test_a_later_generation_beats_a_larger_offset() -> None:
    # A cut-off master went on counting in a generation that was over.
    isolated, promoted = Member(ME, 3, 9_000, was_master=True), Member(B, 4, 100)
    assert newest_member(group(isolated, promoted)).pod == B


def test_of_equal_offsets_the_former_master_is_the_newest() -> None:
    assert newest_member(group(Member(ME, 3, 500), Member(B, 3, 500, was_master=True))).pod == B


def test_the_first_bootstrap_is_led_by_the_first_pod() -> None:
    members = (Member(ME), Member(B), Member(C))
    assert [decided(None, *members, me=pod).step for pod in (ME, B, C)] == [Step.LEAD, Step.WAIT, Step.WAIT]


def test_an_empty_group_waits_long_for_somebody_who_holds_data() -> None:
    two = (Member(ME), Member(B))
    assert decided(None, *two, waited=PATIENCE_SECONDS + 1).step is Step.WAIT
    assert decided(None, *two, waited=PATIENCE_WITHOUT_DATA_SECONDS + 1).step is Step.LEAD


def test_a_group_with_data_goes_on_without_one_member() -> None:
    # Every acknowledged write reached one replica: any two of three hold it.
    two = (Member(ME, 3, 700), Member(B, 3, 600))
    assert decided(None, *two).step is Step.WAIT
    assert decided(None, *two, waited=PATIENCE_SECONDS + 1).step is Step.LEAD


def test_one_member_of_three_never_leads_alone() -> None:
    assert decided(None, Member(ME, 3, 700), waited=3600).step is Step.WAIT


def test_a_single_instance_leads_at_once() -> None:
    assert decided(None, Member(ME), size=1).step is Step.LEAD
    assert decided(ME, Member(ME, 3, 10, was_master=True), size=1).step is Step.LEAD


def test_without_sentinels_a_serving_master_is_followed() -> None:
    decision = decided(None, Member(ME, 9, 9), Member(B, 4, 1, serves="master", in_sync=True))
    assert (decision.step, decision.master) == (Step.FOLLOW, B)


def test_the_reason_of_a_wait_is_said() -> None:
    assert decided(None, Member(ME)).why == "1 of 3 members answer"


def test_an_unlinked_replica_is_promoted_only_if_nobody_else_could_be() -> None:
    me, empty_master = Member(ME, 3, 700), Member(B)
    lost = group(me, empty_master, Member(C, 3, 600))
    assert may_be_promoted(ME, B, lost, 3, 1, 0.0)
    assert not may_be_promoted(C, B, lost, 3, 1, 0.0)
    in_sync = group(me, empty_master, Member(C, 3, 600, in_sync=True))
    assert not may_be_promoted(ME, B, in_sync, 3, 1, 0.0)


def test_of_several_sentinels_the_newest_decision_counts() -> None:
    answers = [Answer("s0", "10.0.0.1", 4), Answer("s1", "10.0.0.2", 7), Answer("s2", "10.0.0.1", 4)]
    assert named_master(answers) == "10.0.0.2"
    assert named_master([]) is None


@pytest.mark.parametrize(
    ("addresses", "agreed"),
    [(["a", "a", "b"], "a"), (["a", "b"], None), (["a"], None), (["a", "a"], "a"), ([], None)],
)
def test_labels_follow_only_a_majority_of_all_sentinels(addresses: list[str], agreed: str | None) -> None:
    answers = [Answer(f"s{number}", address) for number, address in enumerate(addresses)]
    assert agreed_master(answers, quorum=2) == agreed


MEMBERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.booleans()), min_size=3, max_size=5).map(
    lambda facts: [Member(f"shop-redis-{number}", *fact) for number, fact in enumerate(facts)]
)


@given(MEMBERS)
def test_members_that_see_the_same_elect_one_and_nobody_is_newer(members: list[Member]) -> None:
    seen = group(*members)
    leaders = [
        member for member in members if next_step(member.pod, None, seen, len(members), 1, 0.0).step is Step.LEAD
    ]
    assert len(leaders) == 1
    assert leaders[0].freshness == max(member.freshness for member in members)


@given(MEMBERS, st.data())
def test_whoever_leads_is_never_behind_an_acknowledged_write(members: list[Member], data: st.DataObject) -> None:
    # A write of the newest master was acknowledged once one replica had it, too; one member never comes back.
    generation = max(member.generation for member in members) + 1
    holders = data.draw(st.lists(st.sampled_from(members), min_size=2, unique=True))
    now = [Member(each.pod, generation, 100) if each in holders else each for each in members]
    lost = data.draw(st.sampled_from(now))
    left = group(*(member for member in now if member is not lost))
    leaders = [pod for pod in left if next_step(pod, None, left, len(now), 1, PATIENCE_SECONDS + 1).step is Step.LEAD]
    assert [left[pod].generation for pod in leaders] == [generation]


def waits_in_vain(named: str | None, *members: Member, lost: float = PATIENCE_SECONDS + 1) -> bool:
    return has_waited_in_vain(ME, named, group(*members), 3, lost)


HELD_HERE, HELD_THERE = Member(ME, 4, 100, serves="replica", in_sync=True), Member(C, 4, 100, in_sync=True)


def test_a_replica_that_no_sentinel_promotes_starts_anew_once_its_master_is_back_and_does_not_lead() -> None:
    # Sentinel answered NOGOODSLAVE for ever, and the master's keeper asked it for ever.
    waiting = Member(B, 4, 90, was_master=True)
    assert waits_in_vain(B, HELD_HERE, waiting)
    assert not waits_in_vain(B, HELD_HERE, waiting, lost=PATIENCE_SECONDS - 1)
    # Then the master's keeper finds nobody any more who holds the data in memory, and all decide by their records.
    restarted = Member(ME, 4, 100, serves="replica")
    assert decided(B, restarted, waiting, Member(C, 4, 80, serves="replica"), me=B).step is Step.WAIT
    assert may_be_promoted(ME, B, group(restarted, waiting, Member(C, 4, 80, serves="replica")), 3, 1, 0.0)


@pytest.mark.parametrize(
    ("named", "others"),
    [
        (B, [Member(B, 4, 200, serves="master")]),
        (B, [HELD_THERE]),  # B is silent: it may lead those who are not cut off from it
        (B, [Member(B, 5, 10, serves="replica", in_sync=True)]),
        (None, [Member(C, 5, 10, serves="master")]),
        (None, [HELD_THERE]),  # B may lead where the Sentinels are
        (ME, [HELD_THERE]),
    ],
    ids=["it leads", "it is silent", "it follows", "another one leads", "nobody can be asked", "it is to lead itself"],
)
def test_a_replica_keeps_its_data_in_memory_while_somebody_may_lead(named: str | None, others: list[Member]) -> None:
    assert not waits_in_vain(named, HELD_HERE, *others)


def test_a_whole_group_without_sentinels_and_a_master_starts_anew() -> None:
    assert waits_in_vain(None, HELD_HERE, HELD_THERE, Member(B, 4, 90, was_master=True))


@pytest.mark.parametrize(
    ("seen", "size", "gives_up"),
    [
        pytest.param([HELD_HERE, HELD_THERE], 3, True, id="all others answer"),
        pytest.param([HELD_HERE], 2, True, id="this is its only replica"),
        pytest.param([HELD_HERE], 3, False, id="it may have a replica where it is"),
        pytest.param([HELD_HERE, HELD_THERE, Member("shop-redis-3", 4, 1)], 5, True, id="one replica is no half"),
        pytest.param([HELD_HERE, HELD_THERE], 5, False, id="it may have half of the group"),
        pytest.param([HELD_HERE, Member(C, 5, 1, serves="master")], 3, False, id="another one leads"),
        pytest.param([HELD_HERE, HELD_THERE, Member(B, 4, 90)], 3, False, id="it answers"),
    ],
)
def test_a_silent_master_is_given_up_where_too_few_are_missing_for_it_to_take_writes(
    seen: list[Member], size: int, gives_up: bool
) -> None:
    def judged(lost: float, named: str | None = B) -> bool:
        return may_be_given_up(named, group(*seen), size, size // 2, lost)

    assert judged(PATIENCE_WITH_SILENCE_SECONDS + 1) is gives_up
    assert not judged(PATIENCE_WITH_SILENCE_SECONDS - 1)
    assert not judged(PATIENCE_WITH_SILENCE_SECONDS + 1, named=None)


def test_whoever_gave_a_silent_master_up_is_promoted_by_its_record() -> None:
    restarted = Member(ME, 4, 100, serves="replica"), Member(C, 4, 80, serves="replica")
    assert decided(B, *restarted).step is Step.FOLLOW
    assert may_be_promoted(ME, B, group(*restarted), 3, 1, PATIENCE_SECONDS + 1)


@pytest.mark.parametrize(
    ("named", "address"),
    [
        pytest.param(("b", "b", "b"), "b", id="all"),
        pytest.param(("b", "b"), "b", id="one is silent"),
        pytest.param(("b", "b", "a"), None, id="a failover is under way"),
        pytest.param(("b",), None, id="one that may be cut off"),
        pytest.param((), None, id="nobody"),
    ],
)
def test_a_master_is_undisputed_where_most_answer_and_all_name_it(named: tuple[str, ...], address: str | None) -> None:
    answers = [Answer(f"s{number}", each, number) for number, each in enumerate(named)]
    assert undisputed_master(answers, 2) == address


@pytest.mark.parametrize(
    ("master", "is_followed"),
    [
        pytest.param(Member(B, 5, serves="master"), True, id="it was promoted"),
        pytest.param(Member(B, 4, serves="master"), True, id="it led all the time"),
        pytest.param(Member(B, 3, serves="master"), False, id="its data is older"),
        pytest.param(Member(B, 5, serves="master", stopping=True), False, id="it hands over"),
        pytest.param(Member(B, 5, serves="replica"), False, id="not promoted yet"),
        pytest.param(None, False, id="silent"),
    ],
)
def test_a_replica_without_a_link_turns_to_who_leads_and_is_not_behind(
    master: Member | None, is_followed: bool
) -> None:
    assert may_be_followed(Member(ME, 4, 100), master) is is_followed

"""Who may write: never two at once, whatever their clocks say and whenever they are stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appstack_operator.lease import Sighting, Step, Terms, build_spec, decide, sight

TERMS = Terms()
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_lease(holder: str = "a", version: str = "1", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": holder, **spec}}


def test_a_lease_that_nobody_ever_made_is_made_at_once() -> None:
    assert decide(sight(None, None, now=5), "b", 5, TERMS) is Step.CREATE


def test_a_lease_that_was_given_back_is_taken_at_once() -> None:
    assert decide(sight(None, a_lease(holder=""), now=5), "b", 5, TERMS) is Step.TAKE


def test_a_candidate_counts_from_its_own_first_look_not_from_the_time_that_it_reads() -> None:
    seen = sight(None, a_lease(renewTime="1970-01-01T00:00:00.000000Z"), now=100)
    assert decide(seen, "b", 100 + TERMS.lease_seconds - 0.1, TERMS) is Step.WAIT
    assert decide(seen, "b", 100 + TERMS.lease_seconds, TERMS) is Step.TAKE


def test_a_renewal_starts_the_wait_anew() -> None:
    first = sight(None, a_lease(renewTime="1"), now=0)
    second = sight(first, a_lease(version="2", renewTime="2"), now=10)
    assert decide(second, "b", TERMS.lease_seconds + 1, TERMS) is Step.WAIT


def test_looking_again_does_not_start_the_wait_anew() -> None:
    first = sight(None, a_lease(), now=0)
    assert sight(first, a_lease(), now=10).since == 0


def test_a_lease_deleted_under_its_holder_is_waited_out_by_others() -> None:
    gone = sight(sight(None, a_lease(), now=0), None, now=1)
    gone = sight(gone, None, now=2)
    assert decide(gone, "b", 3, TERMS) is Step.WAIT
    assert decide(gone, "b", TERMS.lease_seconds, TERMS) is Step.CREATE


def test_its_holder_makes_a_deleted_lease_again_at_once() -> None:
    gone = sight(sight(None, a_lease(), now=0), None, now=1)
    assert decide(gone, "a", 1, TERMS) is Step.CREATE


def test_the_longer_term_of_another_version_is_kept() -> None:
    seen = sight(None, a_lease(leaseDurationSeconds=60), now=0)
    assert decide(seen, "b", 59, TERMS) is Step.WAIT


def test_only_a_new_holder_counts_as_a_transition() -> None:
    lease = a_lease(leaseTransitions=3, acquireTime="then")
    assert build_spec(Sighting(lease, 0), "b", NOW, TERMS)["leaseTransitions"] == 4
    renewed = build_spec(Sighting(lease, 0), "a", NOW, TERMS)
    assert (renewed["leaseTransitions"], renewed["acquireTime"]) == (3, "then")


def test_terms_under_which_writes_could_meet_are_refused() -> None:
    with pytest.raises(ValueError, match="successor"):
        Terms(hold_seconds=9)


@dataclass
class Candidate:
    """A process, which may be stopped for any time between its look and its write."""

    identity: str
    ahead: float  # its clock
    seen: Sighting | None = None
    begun: float = 0.0
    step: Step = Step.WAIT
    writes_until: float = -1.0  # in true time: the end of the last write that it could still begin


class ManyCandidates(RuleBasedStateMachine):
    """An API server with compare-and-set, and candidates that look, stop, write and crash in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.candidates = [Candidate(str(i), ahead=1000.0 * i) for i in range(2)]
        self.dead: list[Candidate] = []
        self.births = len(self.candidates)

    who = st.integers(0, 1)

    @rule(seconds=st.sampled_from([1, 3, 7, 9, 13, 16]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(i=who)
    def looks(self, i: int) -> None:
        it = self.candidates[i]
        it.begun = self.now
        it.seen = sight(it.seen, self.lease, self.now + it.ahead)
        it.step = decide(it.seen, it.identity, self.now + it.ahead, TERMS)

    @rule(i=who)
    def writes(self, i: int) -> None:
        it = self.candidates[i]
        if it.step is Step.WAIT or it.seen is None:
            return
        is_same = self.lease is None if it.step is Step.CREATE else bool(self.lease) and it.seen.version == self.current
        it.step = Step.WAIT
        if not is_same:
            return
        self.version += 1
        spec = build_spec(it.seen, it.identity, NOW, TERMS) | {"renewTime": str(self.version)}
        self.lease = {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        it.seen = Sighting(self.lease, it.begun + it.ahead)
        it.writes_until = it.begun + TERMS.hold_seconds + TERMS.write_seconds

    @rule(i=who)
    def looks_and_writes(self, i: int) -> None:
        self.looks(i)
        self.writes(i)

    @rule(i=who)
    def crashes_and_comes_back(self, i: int) -> None:
        """Killed in mid-write: the server may still be doing it."""
        old = self.candidates[i]
        self.dead.append(old)
        self.candidates[i] = Candidate(str(self.births), old.ahead)
        self.births += 1

    @property
    def current(self) -> str:
        return str(self.version)

    @invariant()
    def at_most_one_writes(self) -> None:
        writers = [each.identity for each in (*self.candidates, *self.dead) if each.writes_until > self.now]
        assert len(writers) <= 1, writers


TestNeverTwo = ManyCandidates.TestCase
TestNeverTwo.settings = settings(max_examples=300, stateful_step_count=25, deadline=None)

"""A primary that goes on alone: when it may, and that nobody else leads meanwhile, whatever befalls the two of them.

The search is like the one in test_release_model.py, with a clock: one tick is as long as the shortest thing that
happens. P is the primary, S the other member. The store may be silent for P at any moment and for any time; P decides
at the end of each loop, by the real rule. S may be lost, come back, and be put into the record or taken out of it;
somebody may turn synchronous replication off, which P does not hear of while the store is silent. S takes a lock that
it has seen unrenewed for the whole time to live, or that the agent beside it has released, and only if it may lead.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from lone_primary import LONE_TTL_SECONDS, Renewal, Rhythm, is_alone, may_go_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Record = Mapping[str, str | None] | None
    Rule = Callable[[str, Record, str | None, Renewal | None, float, Rhythm], bool]

RHYTHM = Rhythm(loop_wait=1, retry_timeout=3)  # desired/postgres.py
ALONE: Record = {"leader": "p", "sync_standby": None, "quorum": "0"}
LAST = Renewal(began=100, ttl=LONE_TTL_SECONDS)


def may(record: Record = ALONE, waits_for: str | None = None, renewal: Renewal | None = LAST, now: float = 105) -> bool:
    return may_go_on("p", record, waits_for, renewal, now, RHYTHM)


def test_a_primary_that_is_recorded_alone_goes_on_for_a_while() -> None:
    assert may()
    assert may({"leader": "p"})
    assert may(now=147)
    assert may(renewal=replace(LAST, ttl=20), now=107)


@pytest.mark.parametrize(("known"), [
    {"now": 147.1},  # 13 s are needed for another loop and the stop
    {"renewal": replace(LAST, ttl=20), "now": 107.1},
    {"renewal": None},  # it has never held the lock since its Patroni began
    {"record": None},
    {"record": {}},
    {"record": {"leader": "s"}},
    {"record": {"leader": "p", "sync_standby": "s"}},
    {"record": {"leader": "p", "quorum": "1"}},
    {"waits_for": "s"},  # perhaps it is recorded by now
    {"waits_for": "*"},
])  # fmt: skip
def test_any_doubt_leaves_it_to_the_members(known: dict[str, object]) -> None:
    assert not may(**known)  # type: ignore[arg-type]


# In ticks. A loop takes between one and SLOWEST of them, as Patroni's do.
SHORT = Rhythm(loop_wait=1, retry_timeout=1, asking=1, stopping=1)
TTL, LONE_TTL = 7, 10
SLOWEST = round(SHORT.loop_wait + 2 * SHORT.retry_timeout)
MOST_CHANGES = 4  # of the store's silence, of S's life, of the record: enough for all that one loss consists of


@dataclass(frozen=True)
class World:
    store_answers_p: bool = True
    s_lives: bool = False
    is_listed: bool = False  # S is recorded as synchronous
    p_knows: bool = False  # what P believes of the record
    waits: bool = False  # P's commits wait for S
    is_sync: bool = True  # synchronous replication, as the store says
    freed: bool = False  # by the agent
    age: int = 0  # ticks since the last renewal that P knows of
    ttl: int = TTL  # with it
    stored_ttl: int = TTL  # with the last renewal, whether P knows of it or not
    s_saw: int = 0  # ticks since S saw that
    in_loop: int = 0  # ticks since P's loop began
    serves: bool = True
    stops_in: int = -1  # P has decided to stop
    goes_on: bool = False  # P's last decision was to go on alone
    s_leads: bool = False
    changes: int = 0
    wrong: str = ""


def tick(w: World) -> Iterator[tuple[str, World]]:
    """Time passes, unless P would be slower than it can be."""
    if w.serves and w.in_loop >= SLOWEST and w.stops_in < 0:
        return
    stops_in = w.stops_in - 1 if w.stops_in > 0 else w.stops_in
    serves = w.serves and stops_in != 0
    cap = LONE_TTL + 1
    yield (
        "a tick",
        replace(
            w,
            age=min(w.age + 1, cap),
            s_saw=min(w.s_saw + 1, cap),
            in_loop=w.in_loop + serves,
            stops_in=stops_in,
            serves=serves,
        ),
    )


def step_p(w: World, rule: Rule) -> Iterator[tuple[str, World]]:
    """The end of a loop of P's: it renews the lock, or goes on without, or stops."""
    if not w.serves or w.stops_in >= 0 or not w.in_loop:
        return
    if w.store_answers_p:
        yield from renew(w)
        return
    if rule("p", record_of(w), "s" if w.waits else None, Renewal(0, w.ttl), w.age, SHORT):
        yield "P goes on alone", replace(w, in_loop=0, goes_on=True)
    elif w.s_lives and not w.s_leads:
        yield "P goes on, as S agrees", replace(w, in_loop=0, goes_on=False)
    yield "P stops", replace(w, stops_in=round(SHORT.asking + SHORT.stopping))


def renew(w: World) -> Iterator[tuple[str, World]]:
    """The store answers P: what it does in a loop, and where the answer may be lost on its way."""
    if w.freed or w.s_leads:
        yield "P stops", replace(w, stops_in=round(SHORT.stopping), goes_on=False)
        return
    ttl = LONE_TTL if is_alone("p", record_of(w), "s" if w.waits else None) else TTL
    stored = replace(w, stored_ttl=ttl, s_saw=0)
    if w.changes < MOST_CHANGES:
        yield "P renews, and is not told", replace(stored, store_answers_p=False, changes=w.changes + 1)
    w = replace(stored, age=0, ttl=ttl, in_loop=0, goes_on=False)
    yield "P renews", replace(w, p_knows=w.is_listed)
    if w.s_lives and not w.is_listed and w.changes < MOST_CHANGES:
        put_in = replace(w, waits=True, is_listed=True, changes=w.changes + 1)
        yield "P puts S in", replace(put_in, p_knows=True)
        yield "P puts S in, and is not told", replace(put_in, p_knows=False, store_answers_p=False)
    if not w.s_lives and w.is_listed:
        yield "P takes S out", replace(w, waits=False, is_listed=False, p_knows=False)


def record_of(w: World) -> Record:
    """As P knows it."""
    return {"leader": "p", "sync_standby": "s" if w.p_knows else None}


def step_s(w: World) -> Iterator[tuple[str, World]]:
    """S, and the agent beside it."""
    if not w.s_lives or w.s_leads:
        return
    if w.is_listed and w.age > 1:
        yield "the agent releases the lock", replace(w, freed=True)
    may_lead = w.is_listed or not w.is_sync
    if may_lead and (w.freed or w.s_saw > w.stored_ttl):
        told = "S leads while P goes on alone" if w.serves and w.goes_on else ""
        yield "S leads", replace(w, s_leads=True, wrong=told)


def step_world(w: World) -> Iterator[tuple[str, World]]:
    """What nobody asked for."""
    if w.changes >= MOST_CHANGES:
        return
    w = replace(w, changes=w.changes + 1)
    yield "the store falls silent for P, or answers again", replace(w, store_answers_p=not w.store_answers_p)
    # A Patroni that begins has seen no renewal yet: it counts from its first look.
    yield "S is lost, or comes back", replace(w, s_lives=not w.s_lives, s_saw=0 if not w.s_lives else w.s_saw)
    if w.is_sync:
        yield "synchronous replication is turned off", replace(w, is_sync=False)


def search(rule: Rule = may_go_on) -> tuple[int, list[str]]:
    """How many states there are, and the shortest way to a wrong one (empty: there is none)."""
    begin = World()
    came_from: dict[World, tuple[World, str] | None] = {begin: None}
    queue = deque([begin])
    while queue:
        world = queue.popleft()
        if world.wrong:
            names = [world.wrong]
            while (step := came_from[world]) is not None:
                world, name = step
                names.append(name)
            return len(came_from), names[::-1]
        for steps in (tick(world), step_p(world, rule), step_s(world), step_world(world)):
            for name, after in steps:
                if after not in came_from:
                    came_from[after] = (world, name)
                    queue.append(after)
    assert any(world.s_leads for world in came_from), "the search never saw a failover"
    assert any(world.goes_on for world in came_from), "the search never saw a primary go on alone"
    return len(came_from), []


def test_nobody_leads_beside_a_primary_that_goes_on_alone() -> None:
    states, way = search()
    assert way == []
    assert states > 10_000


def without_an_end(me: str, record: Record, waits: str | None, last: Renewal | None, now: float, pace: Rhythm) -> bool:
    """By the record alone."""
    return may_go_on(me, record, waits, last, 0, pace)


def without_the_record(me: str, _: Record, __: str | None, last: Renewal | None, now: float, pace: Rhythm) -> bool:
    """By the age of the lock alone."""
    return may_go_on(me, {"leader": me}, None, last, now, pace)


def without_the_wait(me: str, record: Record, _: str | None, last: Renewal | None, now: float, pace: Rhythm) -> bool:
    """By what P knows of the record, which may be newer."""
    return may_go_on(me, record, None, last, now, pace)


def to_the_end(me: str, record: Record, waits: str | None, last: Renewal | None, now: float, _: Rhythm) -> bool:
    """With no time left for another loop and the stop."""
    return may_go_on(me, record, waits, last, now, Rhythm(0, 0, 0, 0))


PLANTED = [without_an_end, without_the_record, without_the_wait, to_the_end]


@pytest.mark.parametrize("planted", PLANTED)
def test_the_search_finds_a_planted_mistake(planted: Rule) -> None:
    _, way = search(planted)
    assert way

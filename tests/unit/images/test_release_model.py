"""Every interleaving of an early release with Patroni's own steps, in a small world: is an acknowledged write lost?

The world: a store of two objects (the lock and who holds every commit), a primary P and its synchronous standby S.
Both run Patroni's loop step by step, on caches that are told of changes later, in the store's order. The agent beside
S is the real `Attempt`. It may begin at any moment, also while P is well: safety must not lean on how long it waited
or whom it asked. Any of them may stop between any two steps for ever, which is a crash, a pause, or a cut on one side;
the link between P and S breaks and mends on its own. The search visits every reachable state.

Patroni's steps are those of its ha.py (4.0): the lock is renewed before anything else in a loop; a standby is taken
out of the record before commits stop waiting for it, and put in after they have begun to; whoever wins the lock reads
the store again and takes over the record by compare-and-set before it promotes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from release_rules import Attempt, Request, Step, Stored, record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Answers = Callable[["World", Request], tuple["World", Stored | None]]
    Steps = Callable[["World"], Iterator[tuple[str, "World"]]]

P, S = "p", "s"
# Enough for the link to break and mend, for S to be taken out and put in again, and for a commit before and after.
MOST_COMMITS, MOST_CUTS, MOST_ATTEMPTS, MOST_RENEWALS, MOST_SYNC_WRITES = 2, 2, 1, 2, 2


# Tuples: hundreds of thousands of them are hashed.
class Store(NamedTuple):
    """Both objects, each with its version."""

    holder: str = P
    renewals: int = 0
    lock_version: int = 0
    sync_leader: str = P
    is_listed: bool = True  # S is recorded as synchronous
    sync_version: int = 0

    def lock(self) -> Stored:
        return Stored(str(self.lock_version), {"leader": self.holder, "renewTime": str(self.renewals)})

    def sync(self) -> Stored:
        listed = S if self.is_listed else ""
        return Stored(str(self.sync_version), {"leader": self.sync_leader, "sync_standby": listed})


class Member(NamedTuple):
    """One Patroni: its cache, what it read at the start of its loop, and how far it is."""

    cache: Store = Store()
    read: Store = Store()
    at: str = "idle"


class World(NamedTuple):
    store: Store = Store()
    p: Member = Member()
    s: Member = Member()
    attempt: Attempt | None = None
    attempts: int = 0
    link: bool = True
    cuts: int = 0
    waits: bool = True  # P's commits wait for S
    p_serves: bool = True
    s_leads: bool = False
    acknowledged: int = 0
    s_has: int = 0
    wrong: str = ""


def renewed(store: Store, holder: str) -> Store:
    renewals = store.renewals + 1
    return store._replace(holder=holder, renewals=renewals, lock_version=store.lock_version + 1)


def written(store: Store, leader: str, *, listed: bool) -> Store:
    return store._replace(sync_leader=leader, is_listed=listed, sync_version=store.sync_version + 1)


def step_p(w: World) -> Iterator[tuple[str, World]]:
    """One step of the primary's Patroni."""
    p, store = w.p, w.store
    if not w.p_serves:
        return
    if p.cache != store:
        yield "P hears of the store", w._replace(p=p._replace(cache=store))
    if p.at == "idle" and store.renewals < MOST_RENEWALS:
        yield "P begins a loop", w._replace(p=p._replace(read=p.cache, at="loaded"))
    elif p.at == "loaded":
        yield from renew(w)
    elif p.at == "renewed" and store.sync_version < MOST_SYNC_WRITES:
        if p.read.is_listed and not w.link:
            if p.read.sync_version == store.sync_version:
                taken_out = written(store, P, listed=False)
                yield "P takes S out", w._replace(store=taken_out, p=p._replace(at="out"))
            else:
                yield "P may not take S out", w._replace(p=p._replace(at="idle"))
        elif not p.read.is_listed and w.link:
            yield "P's commits wait for S", w._replace(waits=True, p=p._replace(at="in"))
        yield "P ends its loop", w._replace(p=p._replace(at="idle"))
    elif p.at == "renewed":
        yield "P ends its loop", w._replace(p=p._replace(at="idle"))
    elif p.at == "out":
        yield "P's commits wait no more", w._replace(waits=False, p=p._replace(at="idle"))
    elif p.at == "in" and w.link and w.s_has == w.acknowledged:
        if p.read.sync_version == store.sync_version:
            yield "P puts S in", w._replace(store=written(store, P, listed=True), p=p._replace(at="idle"))
        else:
            yield "P may not put S in", w._replace(p=p._replace(at="idle"))


def renew(w: World) -> Iterator[tuple[str, World]]:
    """The lock at the start of P's loop: renewed, taken again while it is free, or lost."""
    p, store = w.p, w.store
    # A conflict makes Patroni read the store itself: it goes on only if the lock is still its own.
    is_mine = p.read.holder == P and p.cache.holder == P and store.holder == P
    is_free = p.read.holder == "" and p.read.lock_version == store.lock_version
    if is_mine or is_free:
        yield "P renews the lock", w._replace(store=renewed(store, P), p=p._replace(at="renewed"))
    else:
        yield "P demotes itself", w._replace(p_serves=False, p=p._replace(at="idle"))


def step_s(w: World) -> Iterator[tuple[str, World]]:
    """One step of the standby's Patroni."""
    s, store = w.s, w.store
    if w.s_leads:
        return
    if s.cache != store:
        yield "S hears of the store", w._replace(s=s._replace(cache=store))
    if s.at == "idle":
        yield "S begins a loop", w._replace(s=s._replace(read=s.cache, at="loaded"))
    elif s.at == "loaded" and s.read.holder == "" and s.read.is_listed:
        if s.read.lock_version == store.lock_version:
            yield "S takes the lock", w._replace(store=renewed(store, S), s=s._replace(at="won"))
        else:
            yield "S loses the race", w._replace(s=s._replace(at="idle"))
    elif s.at == "loaded":
        yield "S ends its loop", w._replace(s=s._replace(at="idle"))
    elif s.at == "won":
        yield "S reads again", w._replace(s=s._replace(read=s.cache, at="reread"))
    elif s.at == "reread":
        if s.read.sync_version != store.sync_version:
            yield "S postpones", w._replace(s=s._replace(at="won"))
        else:
            lost = w.s_has < w.acknowledged
            told = f"S leads with {w.s_has} of {w.acknowledged} acknowledged commits" if lost else ""
            took = written(store, S, listed=False)
            yield "S promotes", w._replace(store=took, s_leads=True, s=s._replace(at="idle"), wrong=told)


def step_clients(w: World) -> Iterator[tuple[str, World]]:
    """A client of P commits; WAL flows; the link breaks and mends."""
    if w.p_serves and w.acknowledged < MOST_COMMITS:
        reaches_s = w.link and not w.s_leads
        if w.waits and reaches_s and w.s_has == w.acknowledged:
            more = w.acknowledged + 1
            yield "a commit on both", w._replace(acknowledged=more, s_has=more)
        if not w.waits:
            told = "P acknowledges beside S, which leads" if w.s_leads else ""
            yield "a commit on P alone", w._replace(acknowledged=w.acknowledged + 1, wrong=told)
    if w.link and not w.s_leads and w.s_has < w.acknowledged:
        yield "S catches up", w._replace(s_has=w.acknowledged)
    if w.cuts < MOST_CUTS:
        yield "the link changes", w._replace(link=not w.link, cuts=w.cuts + 1)


def step_agent(w: World, answer_of: Answers) -> Iterator[tuple[str, World]]:
    """One step of the agent beside S: the real rules, against the store of this world."""
    if w.attempt is None or w.attempt.step is Step.DONE:
        if w.attempts < MOST_ATTEMPTS and w.store.holder == P and not w.s_leads:
            begun = Attempt(S, record_of(w.store.lock()))
            yield "the agent begins", w._replace(attempt=begun, attempts=w.attempts + 1)
        return
    after, answer = answer_of(w, w.attempt.request)
    moved = w.attempt.after(answer)
    told = ""
    if w.attempt.step is Step.RELEASE and not moved.why_not:
        told = "" if record_of(w.store.lock()) == w.attempt.record else "a lock was released that had been renewed"
        told = told or ("" if w.store.is_listed else "the lock was released for a member that is not listed")
    yield f"the agent: {w.attempt.step.value}", after._replace(attempt=moved, wrong=told)


def answer_of(w: World, request: Request) -> tuple[World, Stored | None]:
    """The store's answer: a change goes through only at the version that it names."""
    store = w.store
    if request.change is None:
        return w, store.lock() if request.suffix == "leader" else store.sync()
    if request.suffix == "sync":
        if request.version != str(store.sync_version):
            return w, None
        store = store._replace(sync_version=store.sync_version + 1)
        return w._replace(store=store), store.sync()
    if request.version != str(store.lock_version):
        return w, None
    store = store._replace(holder="", lock_version=store.lock_version + 1)
    return w._replace(store=store), store.lock()


@dataclass(frozen=True)
class Found:
    """What a search has seen."""

    states: int
    steps: set[str]
    way: list[str]  # the shortest one to a state that is wrong; empty: there is none


def search(answers: Answers = answer_of, wrong: str = "", primary: Steps = step_p) -> Found:
    """All states, or as far as the first that is wrong in that way."""
    begin, taken = World(), set[str]()
    came_from: dict[World, tuple[World, str] | None] = {begin: None}
    queue = deque([begin])
    while queue:
        world = queue.popleft()
        if world.wrong and wrong in world.wrong:
            return Found(len(came_from), taken, way_to(world, came_from))
        for steps in (primary(world), step_s(world), step_clients(world), step_agent(world, answers)):
            for name, after in steps:
                taken.add(name)
                if after not in came_from:
                    came_from[after] = (world, name)
                    queue.append(after)
    assert any(world.s_leads for world in came_from), "the search never saw a failover"
    return Found(len(came_from), taken, [])


def way_to(world: World, came_from: dict[World, tuple[World, str] | None]) -> list[str]:
    names = [world.wrong]
    while (step := came_from[world]) is not None:
        world, name = step
        names.append(name)
    return names[::-1]


def test_no_interleaving_loses_an_acknowledged_write() -> None:
    found = search()
    assert found.way == []
    assert found.states > 100_000
    assert found.steps >= {
        "P takes S out",
        "P's commits wait no more",
        "a commit on P alone",
        "S catches up",
        "P's commits wait for S",
        "P puts S in",
        "a commit on both",
        "P may not take S out",
        "S takes the lock",
        "S promotes",
        "P demotes itself",
    }, "a step that is never taken is not checked"


def without_the_touch(w: World, request: Request) -> tuple[World, Stored | None]:
    """The agent leaves the record of the standby as it is: stale writes of P still go through."""
    return (w, w.store.sync()) if request.suffix == "sync" and request.change else answer_of(w, request)


def without_comparing(w: World, request: Request) -> tuple[World, Stored | None]:
    """The agent releases whatever version the lock has by now."""
    if request.suffix == "leader" and request.change:
        request = replace(request, version=str(w.store.lock_version))
    return answer_of(w, request)


def without_looking_who_is_listed(w: World, request: Request) -> tuple[World, Stored | None]:
    """The agent takes itself for the synchronous standby."""
    if request.suffix == "sync" and not request.change:
        return w, w.store._replace(is_listed=True).sync()
    return answer_of(w, request)


@pytest.mark.parametrize(
    ("planted", "wrong"),
    [
        (without_the_touch, "acknowledge"),  # two that acknowledge, or a loss
        (without_comparing, "a lock was released that had been renewed"),
        (without_looking_who_is_listed, "not listed"),
    ],
)
def test_the_search_finds_a_planted_mistake(planted: Answers, wrong: str) -> None:
    assert search(planted, wrong).way


def listing_before_commits_wait(w: World) -> Iterator[tuple[str, World]]:
    """A Patroni that puts the standby into the record first, and has commits wait for it afterwards."""
    p, store = w.p, w.store
    if w.p_serves and p.at == "renewed" and not p.read.is_listed and w.link and w.s_has == w.acknowledged:
        if p.read.sync_version == store.sync_version < MOST_SYNC_WRITES:
            yield "P puts S in", w._replace(store=written(store, P, listed=True), p=p._replace(at="listed"))
    elif w.p_serves and p.at == "listed":
        yield "P's commits wait for S", w._replace(waits=True, p=p._replace(at="idle"))
    else:
        yield from step_p(w)


def ending_the_wait_first(w: World) -> Iterator[tuple[str, World]]:
    """A Patroni whose commits stop waiting for a standby that is still in the record."""
    if w.p_serves and w.p.at == "renewed" and w.p.read.is_listed and not w.link:
        yield "P's commits wait no more", w._replace(waits=False)
    yield from step_p(w)


@pytest.mark.parametrize("primary", [listing_before_commits_wait, ending_the_wait_first])
def test_the_search_finds_a_patroni_that_keeps_another_order(monkeypatch: pytest.MonkeyPatch, primary: Steps) -> None:
    """That the record never names a member that commits do not wait for is assumed of Patroni, and needed."""
    monkeypatch.setattr(f"{__name__}.MOST_COMMITS", 1)
    assert search(wrong="acknowledge", primary=primary).way

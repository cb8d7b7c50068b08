"""Who may lead: pure rules over what Sentinels and members answered. No IO, no clock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Member:
    """What a member's keeper knows about its data and its server."""

    pod: str
    generation: int = 0  # grows with every new master; 0: holds no data
    offset: int = 0  # replication offset within the generation
    was_master: bool = False
    serves: str = ""  # master, replica, or nothing yet
    in_sync: bool = False  # has held its master's data since its server started
    stopping: bool = False

    @property
    def freshness(self) -> tuple[int, int, bool]:
        """Orders members by how new their data is: a master is never behind its replicas."""
        return (self.generation, self.offset, self.was_master)


@dataclass(frozen=True)
class Answer:
    """What one Sentinel says: the announced address of the master and the epoch of that decision."""

    sentinel: str
    address: str
    epoch: int = 0


class Step(Enum):
    """What a starting member does next."""

    LEAD = "start as master"
    FOLLOW = "start as replica"
    HAND_OVER = "ask a Sentinel to fail over, then look again"
    WAIT = "look again"


@dataclass(frozen=True)
class Decision:
    """A step and its reason in words."""

    step: Step
    why: str
    master: str = ""  # FOLLOW: the pod to follow


def named_master(answers: Iterable[Answer]) -> str | None:
    """The address of the newest decision that a Sentinel knows of."""
    newest = max(answers, key=lambda answer: (answer.epoch, answer.address), default=None)
    return newest.address if newest else None


def agreed_master(answers: Sequence[Answer], quorum: int) -> str | None:
    """The address that most of all Sentinels name: a cut-off Sentinel with old news cannot decide alone."""
    votes: dict[str, int] = {}
    for answer in answers:
        votes[answer.address] = votes.get(answer.address, 0) + 1
    return next((address for address, count in votes.items() if count >= quorum), None)


def undisputed_master(answers: Sequence[Answer], quorum: int) -> str | None:
    """The address that all Sentinels name which answer, where those are most of all.

    Stricter than agreed: the Sentinel that leads a failover names the successor before the others do.
    """
    addresses = {answer.address for answer in answers}
    return addresses.pop() if len(addresses) == 1 and len(answers) >= quorum else None


def may_be_followed(mine: Member, master: Member | None) -> bool:
    """Whether a replica without a link may turn to whom all Sentinels name: it leads, goes on, and is not behind."""
    if master is None or master.stopping:
        return False
    return master.serves == "master" and master.generation >= mine.generation


def newest_member(members: Mapping[str, Member]) -> Member:
    """The member with the newest data; of equals (a first bootstrap) the one with the lowest ordinal."""
    return min(members.values(), key=lambda member: (negated(member.freshness), ordinal(member.pod)))


def negated(freshness: tuple[int, int, bool]) -> tuple[int, int, int]:
    """For sorting the newest first."""
    generation, offset, was_master = freshness
    return (-generation, -offset, -int(was_master))


def ordinal(pod: str) -> int:
    """shop-redis-2 -> 2."""
    return int(pod.rsplit("-", 1)[1])


# How long a member waits for all the others before it decides with those that are there. A group that
# holds data may go on without `min_replicas` members: each acknowledged write was sent to one member more.
# One without any data is a first bootstrap, or has lost it: then we wait longer for somebody who has some.
PATIENCE_SECONDS = 20.0
PATIENCE_WITHOUT_DATA_SECONDS = 60.0
# A named master that says nothing is given up later than one that says that it leads nobody: until then, Sentinels act.
PATIENCE_WITH_SILENCE_SECONDS = 60.0


def elected(
    members: Mapping[str, Member], group_size: int, min_replicas: int, waited_seconds: float
) -> tuple[Member | None, str]:
    """The member that may lead a group in which nobody does, or why nobody may yet."""
    has_data = any(member.generation for member in members.values())
    patience = PATIENCE_SECONDS if has_data else PATIENCE_WITHOUT_DATA_SECONDS
    needed = group_size if waited_seconds < patience else group_size - min_replicas
    if len(members) < needed:
        return None, f"{len(members)} of {needed} members answer"
    winner = newest_member(members)
    return winner, f"{winner.pod} holds the newest data (generation {winner.generation}, offset {winner.offset})"


def next_step(
    me: str,
    named: str | None,
    members: Mapping[str, Member],
    group_size: int,
    min_replicas: int,
    waited_seconds: float,
) -> Decision:
    """Decide how the member `me` starts; `named` is the pod that Sentinels call master, if any.

    `members` holds every member whose keeper answers, this one included.
    """
    others = [member for pod, member in members.items() if pod != me and not member.stopping]
    if named and named != me:
        return Decision(Step.FOLLOW, f"Sentinels name {named}", named)
    if named == me and any(member.in_sync for member in others):
        return Decision(Step.HAND_OVER, "Sentinels name this pod, but its memory is gone and others hold the data")
    leading = [member for member in others if member.serves == "master"]
    if leading and not named:
        return Decision(Step.FOLLOW, f"{leading[0].pod} serves as master", leading[0].pod)
    winner, why = elected(members, group_size, min_replicas, waited_seconds)
    if winner and winner.pod == me:
        return Decision(Step.LEAD, why)
    return Decision(Step.WAIT, why)


def may_be_promoted(
    me: str,
    named: str | None,
    members: Mapping[str, Member],
    group_size: int,
    min_replicas: int,
    waited_seconds: float,
) -> bool:
    """Whether a replica that never linked since its start may be promoted: nobody leads, and it is newest."""
    others = [member for pod, member in members.items() if pod != me and not member.stopping]
    if any(member.in_sync or member.serves == "master" for member in others) or named == me:
        return False
    winner, _ = elected(members, group_size, min_replicas, waited_seconds)
    return winner is not None and winner.pod == me


def has_waited_in_vain(
    me: str,
    named: str | None,
    members: Mapping[str, Member],
    group_size: int,
    lost_seconds: float,
) -> bool:
    """Whether a replica that held its master's data starts anew, because nobody will promote it and nobody leads.

    Sentinel passes over replicas whose link was down for 30 seconds longer than it has itself missed the master: for
    ever, where it was away with the master, or started later. And the master's keeper does not start its server while
    others hold the data in memory. Started anew, all decide by their records, as after a restart of the whole group.
    """
    others = [member for pod, member in members.items() if pod != me]
    if lost_seconds < PATIENCE_SECONDS or named == me or any(member.serves == "master" for member in others):
        return False
    if named:  # a silent one may serve those whom this one cannot reach ...
        return named in members and not members[named].serves
    return len(members) == group_size  # ... as may anybody, where no Sentinel answers


def may_be_given_up(
    named: str | None,
    members: Mapping[str, Member],
    group_size: int,
    min_replicas: int,
    lost_seconds: float,
) -> bool:
    """Whether a named master that is silent takes no writes any more, if nobody of those that answer is linked to it.

    It may be cut off, and serve its side: but with fewer than `min_replicas` members there it acknowledges nothing.
    Its node may be gone for good as well, and Sentinels that started later promote nobody (see above).
    """
    if named is None or named in members or lost_seconds < PATIENCE_WITH_SILENCE_SECONDS:
        return False
    others_there = group_size - len(members) - 1
    return others_there < min_replicas and not any(member.serves == "master" for member in members.values())

"""Which RabbitMQ nodes a partition keeps apart, also one that is over: by what each of them says itself. Pure.

Nothing else tells. Mnesia drops a peer the moment a connection breaks and never takes it back while both run; where the
break was too short for `pause_minority`, or met the nodes at different times, the application runs on all of them and
their queues work; no list of partitions need name anybody, and only the nodes' own words of who runs differ.
"""

from collections.abc import Sequence

from appstack_operator.observed import RabbitmqNode

Side = tuple[RabbitmqNode, ...]


def sides_of(nodes: Sequence[RabbitmqNode]) -> list[Side]:
    """Groups of nodes that all count each other in, the largest first; of equals the one with the first node.

    A node that does not answer for itself is left out: it may be cut off, paused or starting, and no word of the
    others tells which.
    """
    left = [node for node in nodes if node.counts is not None]
    sides: list[Side] = []
    while left:
        side = max((group_of(node, left) for node in left), key=len)
        sides.append(side)
        left = [node for node in left if node not in side]
    return sides


def group_of(first: RabbitmqNode, nodes: Sequence[RabbitmqNode]) -> Side:
    """The node, and those after which everybody in the group still counts everybody else in."""
    group = [first]
    for node in nodes:
        if node != first and all(are_together(node, other) for other in group):
            group.append(node)
    return tuple(sorted(group, key=lambda node: node.name))


def are_together(one: RabbitmqNode, other: RabbitmqNode) -> bool:
    """Whether each counts the other in, and neither lists it as partitioned."""
    return counts_in(one, other) and counts_in(other, one)


def counts_in(one: RabbitmqNode, other: RabbitmqNode) -> bool:
    """Whether `one` says of `other` that it runs with it."""
    return other.name in (one.counts or ()) and other.name not in one.partitions


def all_speak(nodes: Sequence[RabbitmqNode]) -> bool:
    """Whether every member answers for itself: then nothing is cut off any more, and what is apart stays so."""
    return bool(nodes) and all(node.counts is not None for node in nodes)

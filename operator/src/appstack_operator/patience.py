"""Which nodes are left alone for now, because a kubelet there has put its word over the operator's. No IO, no clock.

Such a kubelet lives, and reaches the API server: the silence may be that of one way, from the operator to it. Each mark
is then undone within ten seconds, and both of them cost writes, so marks become ever rarer.
"""

from collections.abc import Collection
from dataclasses import dataclass

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Rest:
    """For how long a node is left alone, and until when; by a clock that only goes on."""

    seconds: float
    until: float


class Patience:
    """The marks on lost nodes, and what their kubelets have said to them."""

    def __init__(self) -> None:
        """Nothing is marked."""
        self._marked: dict[str, str] = {}  # uid -> node: the marks that stand, as far as is known
        self._rests: dict[str, Rest] = {}  # by node

    def mark(self, uid: str, node: str) -> None:
        """A pod was marked just now."""
        self._marked[uid] = node

    def see_ready(self, uid: str, now: float) -> None:
        """A pod is ready. If it was marked, its kubelet puts back its word on all others of that node just now, too."""
        node = self._marked.get(uid)
        if node is None:
            return
        before = self._rests.get(node)
        seconds = min(before.seconds * 2, LONGEST_SECONDS) if before else FIRST_SECONDS
        self._rests[node] = Rest(seconds, now + seconds)
        self._marked = {each: where for each, where in self._marked.items() if where != node}

    def is_resting(self, node: str, now: float) -> bool:
        """Whether nothing is to be marked on a node."""
        return node in self._rests and now < self._rests[node].until

    def keep(self, lost: Collection[str]) -> None:
        """Forget the nodes that are not lost (any more)."""
        self._marked = {uid: node for uid, node in self._marked.items() if node in lost}
        self._rests = {node: rest for node, rest in self._rests.items() if node in lost}

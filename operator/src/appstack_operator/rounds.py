"""Which nodes are lost, by rounds of questions to one pod on each of them. No IO, no clock.

One silence is none yet, and who never answered says nothing by its silence (a firewall does not let the operator in).
A predecessor's word that it did is good enough: it may have ended with just that node.
Where not most nodes answer it is the operator that is cut off, and it has nothing to say about anybody.
"""

from collections.abc import Iterable, Mapping
from enum import Enum

SILENT_ROUNDS = 2  # in a row
FEWEST_NODES = 3  # of two nobody can tell which one is cut off


class Word(Enum):
    """What came of a question."""

    ANSWER = "answer"  # a refusal is one, too: the pod's node has sent it
    SILENCE = "silence"  # no word within the time, or no way to the pod
    UNASKED = "unasked"  # the question could not be put: this process has no more sockets, for one


class Rounds:
    """What the rounds up to now say."""

    def __init__(self, heard: Iterable[str] = ()) -> None:
        """Nobody was asked yet; these have answered a predecessor."""
        self.lost: frozenset[str] = frozenset()
        self.is_cut_off = False  # the operator itself, it seems
        self.heard = frozenset(heard)  # who has answered, ever
        self._asked: frozenset[str] = frozenset()
        self._silences: dict[str, int] = {}

    @property
    def suspected(self) -> frozenset[str]:
        """The nodes that were silent, and that another silence makes lost."""
        return frozenset(self._silences) - self.lost

    def judge(self, words: Mapping[str, Word]) -> None:
        """One more round: node -> what came of the question to it. Who is no longer asked has no pods any more."""
        answering = frozenset(node for node, word in words.items() if word is Word.ANSWER)
        silent = frozenset(node for node, word in words.items() if word is Word.SILENCE)
        self.heard = (self.heard | answering) - (self._asked - words.keys())
        self._asked = frozenset(words)
        is_enough = len(words) >= FEWEST_NODES
        self.is_cut_off = is_enough and bool(silent) and len(answering) <= len(silent)
        if self.is_cut_off or not is_enough:
            self._silences, self.lost = {}, frozenset()
            return
        self._silences = {node: self._silences.get(node, 0) + 1 for node in silent & self.heard}
        newly_lost = {node for node, count in self._silences.items() if count >= SILENT_ROUNDS}
        self.lost = (self.lost.intersection(words) - answering) | newly_lost

    def hear(self, node: str) -> None:
        """Another pod of that node has answered: it is not lost."""
        self.lost -= {node}
        self._silences.pop(node, None)

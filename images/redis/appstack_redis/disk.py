"""A disk that takes no writes: its server is promoted by nobody, and a master on it is to hand over. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

LASTING_SECONDS = 15.0  # a disk that is full for a moment is no reason to move
AGAIN_SECONDS = 60.0  # nobody could take over: the next attempt comes this much later


@dataclass
class Disk:
    """What the keeper knows of its server's append-only file."""

    failing_since: float | None = None
    next_attempt: float = 0.0

    def look(self, facts: Mapping[str, str], now: float) -> bool:
        """Take note of INFO persistence; whether the file cannot be written."""
        if facts.get("aof_last_write_status", "ok") == "ok":
            self.failing_since = None
        elif self.failing_since is None:
            self.failing_since = now
        return self.failing_since is not None

    def is_time_to_hand_over(self, now: float) -> bool:
        """Whether a master has refused writes for so long that another one should lead; not at every look."""
        if self.failing_since is None or now - self.failing_since < LASTING_SECONDS or now < self.next_attempt:
            return False
        self.next_attempt = now + AGAIN_SECONDS
        return True

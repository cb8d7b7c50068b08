"""How long the sender of a long body is waited for: bytes earn the time in which the next ones may be late."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Patience:
    """So many seconds of silence at most, and all in all no slower than the rate. Pure: the caller has the clock.

    Only the time in which the sender is waited for counts: whom we keep waiting ourselves is not slow.
    """

    most_seconds: float
    bytes_per_second: float
    left_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.left_seconds = self.most_seconds

    def note(self, waited_seconds: float, received_bytes: int) -> None:
        """That many bytes came after a wait."""
        earned = received_bytes / self.bytes_per_second
        self.left_seconds = min(self.left_seconds - waited_seconds + earned, self.most_seconds)

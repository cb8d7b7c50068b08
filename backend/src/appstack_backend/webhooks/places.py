"""Room for requests under way: so many in all, and fewer to one target, so that a slow one keeps no other waiting."""

import asyncio
from collections import Counter

WAIT_SECONDS = 0.25  # a target that answers has room again within this


class Places:
    """Places of one process."""

    def __init__(self, most: int, most_of_one: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._most, self._most_of_one, self._wait_seconds = most, most_of_one, wait_seconds
        self._taken: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    def has_room(self, target: str) -> bool:
        return self._taken.total() < self._most and self._taken[target] < self._most_of_one

    async def take(self, target: str) -> bool:
        """Take a place, if there is one within a moment.

        Only as many wait for a target as it may have: each of them keeps somebody else's message waiting.
        """
        if not self.has_room(target) and self._waiting[target] >= self._most_of_one:
            return False
        self._waiting[target] += 1
        try:
            async with asyncio.timeout(self._wait_seconds), self._changed:
                await self._changed.wait_for(lambda: self.has_room(target))
                self._taken[target] += 1
        except TimeoutError:
            return False
        finally:
            self._waiting[target] -= 1
            self._waiting += Counter()  # forget those that have none
        return True

    async def give_back(self, target: str) -> None:
        """End what `take` began."""
        async with self._changed:
            self._taken[target] -= 1
            self._taken += Counter()  # forget those that have none
            self._changed.notify_all()

"""Who may work now: so many at once, in the order in which they came, but who is in a hurry before all others."""

import asyncio
from collections.abc import Hashable

# More at once would only wait for each other, and for the API server, until their requests run out of time.
PASSES_AT_ONCE = 16
# Who has stepped aside for so long waits like one in a hurry: there may always be another one.
LONGEST_ASIDE_SECONDS = 5.0


class Turns:
    """Like a semaphore, with names: a key may be put first while it waits, and may let those who are put first pass."""

    def __init__(self, number: int) -> None:
        """All are free."""
        self.free = number
        self._waiting: dict[Hashable, asyncio.Future[None]] = {}
        self._hurried: set[Hashable] = set()
        self._aside_since: dict[Hashable, float] = {}

    def hurry(self, key: Hashable) -> None:
        """The next turn of this key comes before those of all who are not in a hurry."""
        self._hurried.add(key)

    def forget(self, key: Hashable) -> None:
        """It does not come again."""
        self._hurried.discard(key)

    async def acquire(self, key: Hashable) -> None:
        """Wait until it is this key's turn."""
        await self._wait(key)
        self._hurried.discard(key)

    async def step_aside(self, key: Hashable) -> None:
        """In the middle of a turn: let those in a hurry go first, and go on before all who have not begun."""
        if key in self._hurried or not self._hurried & self._waiting.keys():
            return
        self._aside_since[key] = asyncio.get_running_loop().time()
        self.release()
        try:
            await self._wait(key)
        except asyncio.CancelledError:
            self.free -= 1  # who had the turn gives it back, whatever has happened to it
            raise
        finally:
            del self._aside_since[key]

    async def _wait(self, key: Hashable) -> None:
        if self.free > 0:
            self.free -= 1
            return
        turn = self._waiting[key] = asyncio.get_running_loop().create_future()
        try:
            await turn
        except asyncio.CancelledError:
            if self._waiting.pop(key, None) is None:  # it was given the turn just now
                self.release()
            raise

    def release(self) -> None:
        """Give a turn to the next one, or keep it for who comes."""
        if not self._waiting or self.free < 0:
            self.free += 1
            return
        self._waiting.pop(min(self._waiting, key=self._rank)).set_result(None)

    def _rank(self, key: Hashable) -> int:
        """The lowest comes next; of several the one that came first."""
        since = self._aside_since.get(key)
        is_overdue = since is not None and asyncio.get_running_loop().time() - since > LONGEST_ASIDE_SECONDS
        if key in self._hurried or is_overdue:
            return 0
        return 2 if since is None else 1

"""Who may work now: so many at once, in the order in which they came, but who is in a hurry before all others."""

import asyncio
from collections.abc import Hashable


class Turns:
    """Like a semaphore, with names: a key may be put first while it waits."""

    def __init__(self, number: int) -> None:
        """All are free."""
        self._free = number
        self._waiting: dict[Hashable, asyncio.Future[None]] = {}
        self._hurried: set[Hashable] = set()

    def hurry(self, key: Hashable) -> None:
        """The next turn of this key comes before those of all who are not in a hurry."""
        self._hurried.add(key)

    def forget(self, key: Hashable) -> None:
        """It does not come again."""
        self._hurried.discard(key)

    async def acquire(self, key: Hashable) -> None:
        """Wait until it is this key's turn."""
        if self._free:
            self._free -= 1
        else:
            turn = self._waiting[key] = asyncio.get_running_loop().create_future()
            try:
                await turn
            except asyncio.CancelledError:
                if self._waiting.pop(key, None) is None:  # it was given the turn just now
                    self.release()
                raise
        self._hurried.discard(key)

    def release(self) -> None:
        """Give a turn to the next one, or keep it for who comes."""
        if not self._waiting:
            self._free += 1
            return
        hurried = (key for key in self._waiting if key in self._hurried)
        self._waiting.pop(next(hurried, next(iter(self._waiting)))).set_result(None)

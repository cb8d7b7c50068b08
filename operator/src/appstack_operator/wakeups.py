"""Who waits for which stack: children's events wake the daemon of their stack."""

import asyncio
from collections import defaultdict

Key = tuple[str, str]  # namespace, name


class Wakeups:
    """One flag per stack; many wake-ups before a pass are one wake-up."""

    def __init__(self) -> None:
        """Nobody is awake."""
        self._flags: defaultdict[Key, asyncio.Event] = defaultdict(asyncio.Event)

    def wake(self, namespace: str, name: str) -> None:
        """Something of this stack has changed."""
        self._flags[namespace, name].set()

    def clear(self, namespace: str, name: str) -> None:
        """A pass begins: whatever changed before now will be seen by it."""
        self._flags[namespace, name].clear()

    def is_awake(self, namespace: str, name: str) -> bool:
        """Whether something has changed since the last pass began."""
        return self._flags[namespace, name].is_set()

    async def wait(self, namespace: str, name: str, timeout_seconds: float) -> bool:
        """Return True at the next wake-up, False after the time-out."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._flags[namespace, name].wait()
        except TimeoutError:
            return False
        return True

    def forget(self, namespace: str, name: str) -> None:
        """The stack is gone."""
        self._flags.pop((namespace, name), None)

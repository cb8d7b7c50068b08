"""Who waits for which stack: children's events wake the daemon of their stack."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from typing import Any

Key = tuple[str, str]  # namespace, name
Version = tuple[str, str]  # uid, resourceVersion


class Wakeups:
    """One flag per stack; many wake-ups before a pass are one wake-up."""

    def __init__(self) -> None:
        """Nobody is awake."""
        self._flags: defaultdict[Key, asyncio.Event] = defaultdict(asyncio.Event)
        self._told: defaultdict[Key, set[Version | None]] = defaultdict(set)  # since the last pass began
        self._later: dict[Key, asyncio.TimerHandle] = {}

    def wake(self, namespace: str, name: str, version: Version | None = None) -> None:
        """Something of this stack has changed: an object is of this version now, or nobody knows what."""
        self._told[namespace, name].add(version)
        self._flags[namespace, name].set()

    def wake_later(self, namespace: str, name: str, delay_seconds: float) -> None:
        """Something has changed, and more of it is to come by then: one wake-up for all of it."""
        key = (namespace, name)
        if key not in self._later:
            self._later[key] = asyncio.get_running_loop().call_later(delay_seconds, self.wake, namespace, name)

    def clear(self, namespace: str, name: str) -> None:
        """A pass begins: whatever changed before now will be seen by it."""
        self._flags[namespace, name].clear()
        self._told[namespace, name].clear()
        self._forget_later(namespace, name)

    def settle(self, namespace: str, name: str, versions: Mapping[str, str]) -> None:
        """A pass has ended that has read these versions, by uid: who told of them meanwhile told nothing new."""
        key = (namespace, name)
        self._told[key] = {each for each in self._told[key] if each is None or versions.get(each[0]) != each[1]}
        if not self._told[key]:
            self._flags[key].clear()

    def is_awake(self, namespace: str, name: str) -> bool:
        """Whether something has changed since the last pass began."""
        return self._flags[namespace, name].is_set()

    async def until_awake(self, namespace: str, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Do this until it is done or, wherever it is then, the next wake-up."""
        tasks = [asyncio.create_task(self._flags[namespace, name].wait()), asyncio.create_task(work)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[1] in done:
                await tasks[1]  # raises what it raised
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def forget(self, namespace: str, name: str) -> None:
        """The stack is gone."""
        self._flags.pop((namespace, name), None)
        self._told.pop((namespace, name), None)
        self._forget_later(namespace, name)

    def _forget_later(self, namespace: str, name: str) -> None:
        """No wake-up is owed any more."""
        if timer := self._later.pop((namespace, name), None):
            timer.cancel()

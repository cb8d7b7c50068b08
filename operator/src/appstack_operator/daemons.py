"""One task per stack, from its first sight until it is gone: waits for a wake-up and runs one pass."""

import asyncio
import logging
from contextvars import copy_context

from appstack_operator import metrics
from appstack_operator.converge import CRASHED_SECONDS, Operator, run_pass
from appstack_operator.health import Health
from appstack_operator.probe import rest
from appstack_operator.wakeups import Key, Version, Wakeups

logger = logging.getLogger(__name__)

# Many events come together (a rollout): one pass for all of them, and no more than one in this time.
PAUSE_SECONDS = 0.3
STOP_SECONDS = 10.0
WRITE_SECONDS = 5.0  # longer than any write takes: see lease.py
# A run of a scheduled job is some ten events within seconds; its outcome is told when most runs are over.
RUN_SECONDS = 10.0


class Daemons:
    """All stacks that were seen. Watches may break off and begin anew: the tasks go on."""

    def __init__(self, operator: Operator, health: Health) -> None:
        """Nobody was seen yet."""
        self._operator, self._health = operator, health
        self._wakeups = Wakeups()
        self._turns = operator.turns
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._working: set[Key] = set()
        self._generations: dict[Key, int] = {}
        self._is_stopping = False
        self.may_write = True  # until a pass takes too long for a process that is told to stop
        # Not that of the event that tells of a stack: it holds what kopf knows of the event.
        self._context = copy_context()

    def see(self, namespace: str, name: str, generation: int) -> None:
        """A stack is there, or has changed. For another spec (generation) somebody waits: its pass goes first."""
        key = (namespace, name)
        if self._generations.get(key, generation) != generation:
            self._turns.hurry(key)
        self._generations[key] = generation
        if key not in self._tasks and not self._is_stopping:
            self._tasks[key] = asyncio.create_task(
                self._live(key), name=f"stack {namespace}/{name}", context=self._context.copy()
            )
            metrics.STACKS.set(len(self._tasks))
        self.wake(namespace, name)

    def wake(self, namespace: str, name: str, version: Version | None = None) -> None:
        """Something of this stack has changed; its pass finds out what."""
        if (namespace, name) in self._tasks and not self._has_read((namespace, name), version):
            self._wakeups.wake(namespace, name, version)

    def wake_later(self, namespace: str, name: str, version: Version | None = None) -> None:
        """A scheduled job runs: its pass looks at what has come of it, not at each step."""
        if (namespace, name) in self._tasks and not self._has_read((namespace, name), version):
            self._wakeups.wake_later(namespace, name, RUN_SECONDS)

    def _has_read(self, key: Key, version: Version | None) -> bool:
        """Whether the last pass has read just that. At a start all objects are told of, for many seconds."""
        look = self._operator.looks.get(key)
        return look is not None and version is not None and look.versions.get(version[0]) == version[1]

    async def stop(self) -> None:
        """Let passes that are under way end, long ones between two writes, and end everything else.

        None is cut off in a write: what is no longer waited for may still be done, beside the writes of a successor.
        """
        self._is_stopping = True
        for key, task in self._tasks.items():
            if key not in self._working:
                task.cancel()
        tasks = list(self._tasks.values())
        for seconds in (STOP_SECONDS, WRITE_SECONDS):
            if not all(task.done() for task in tasks):
                await asyncio.wait(tasks, timeout=seconds)
            self.may_write = False
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _live(self, key: Key) -> None:
        """Passes over one stack, with rests between them."""
        try:
            while not self._is_stopping:
                delay_seconds = await self._pass(key)
                if look := self._operator.looks.get(key):
                    self._wakeups.settle(*key, look.versions)
                if delay_seconds is None:
                    if self._wakeups.is_awake(*key):
                        continue  # another stack of this name has come meanwhile
                    return
                if self._is_stopping:
                    return  # nobody would wake it from its rest
                await asyncio.sleep(PAUSE_SECONDS)
                await self._rest(key, delay_seconds)
        finally:
            del self._tasks[key]
            self._wakeups.forget(*key)
            self._turns.forget(key)
            self._generations.pop(key, None)
            metrics.STACKS.set(len(self._tasks))

    async def _rest(self, key: Key, delay_seconds: float) -> None:
        """Until something is worth a pass. A defect in a question must not end the daemon: a pass asks anew."""
        operator = self._operator
        look, every_seconds = operator.looks.get(key), operator.settings.poll_seconds
        try:
            resting = rest(operator.api, look, operator.scaling, delay_seconds, every_seconds)
            await self._wakeups.until_awake(*key, resting)
        except Exception:
            logger.exception("the look between passes crashed")
            await self._wakeups.until_awake(*key, asyncio.sleep(min(delay_seconds, CRASHED_SECONDS)))

    async def _pass(self, key: Key) -> float | None:
        """One pass, when it is its turn."""
        with metrics.QUEUE_DEPTH.track_inprogress():
            await self._turns.acquire(key)
        try:
            self._working.add(key)
            self._wakeups.clear(*key)
            with self._health.working("/".join(key)):
                return await run_pass(self._operator, *key)
        finally:
            self._working.discard(key)
            self._turns.release()

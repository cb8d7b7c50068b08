"""Many who ask for one thing each in the same moment are answered by one query."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]
# The rows of some keys, for who needs to see what was written up to a position; None: only the primary will do.
LookUp = Callable[[list[str], str | None], Awaitable[dict[str, Row]]]


class Asked(NamedTuple):
    """What somebody waits for."""

    key: str
    needed_lsn: str | None
    answer: asyncio.Future[Row | None]


class Together:
    """Who asks in one turn of the event loop waits for the same query; nobody waits for one that has begun.

    So whoever asks sees all that was committed before, and a query that takes long keeps nobody else waiting.
    """

    def __init__(self, look_up: LookUp, most: int) -> None:
        self._look_up, self._most = look_up, most
        self._asked: list[Asked] = []
        self._running: set[asyncio.Task[None]] = set()

    async def get(self, key: str, needed_lsn: str | None) -> Row | None:
        """The row of a key; None if there is none."""
        loop = asyncio.get_running_loop()
        if not self._asked:
            loop.call_soon(self._begin)
        asked = Asked(key, needed_lsn, loop.create_future())
        self._asked.append(asked)
        return await asked.answer

    def _begin(self) -> None:
        all_asked, self._asked = self._asked, []
        for needs_primary in (False, True):
            alike = [asked for asked in all_asked if (asked.needed_lsn is None) == needs_primary]
            for first in range(0, len(alike), self._most):
                task = asyncio.create_task(self._answer(alike[first : first + self._most]))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _answer(self, alike: Sequence[Asked]) -> None:
        """What suits the one who needs the latest position suits all."""
        needed_lsn = max((asked.needed_lsn for asked in alike if asked.needed_lsn is not None), default=None)
        try:
            rows = await self._look_up(list({asked.key for asked in alike}), needed_lsn)
        except Exception as error:
            for asked in alike:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
        else:
            for asked in alike:
                if not asked.answer.done():  # whoever asked went away
                    asked.answer.set_result(rows.get(asked.key))

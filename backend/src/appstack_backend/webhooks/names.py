"""Names to addresses, asked of the system in threads: a name that is never answered holds one, and no second.

Nobody can be made to stop asking, so a thread is held until the system gives up, long after those who waited have.
"""

import asyncio
import socket
from concurrent.futures import Future
from threading import Thread
from typing import Any

MOST_ASKED = 64
Place = tuple[str, int]


class NamesBusy(Exception):
    """As many names as there may be are asked for already; this one was not."""


class Names:
    """The names that one process asks for."""

    def __init__(self, most: int = MOST_ASKED) -> None:
        self._most = most
        self._asked: dict[Place, Future[list[Any]]] = {}

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host; raises OSError, or NamesBusy at once instead of waiting for others' names."""
        asked = self._asked.get((host, port))
        if asked is None:
            if len(self._asked) >= self._most:
                raise NamesBusy()
            asked = self._ask((host, port))
        try:
            found = await asyncio.shield(asyncio.wrap_future(asked))
        except UnicodeError:
            raise OSError("the host's name is not valid") from None
        return list(dict.fromkeys(str(address[4][0]) for address in found))

    def _ask(self, place: Place) -> Future[list[Any]]:
        asked: Future[list[Any]] = Future()
        self._asked[place] = asked
        asked.add_done_callback(lambda _: self._asked.pop(place))
        Thread(target=answer, args=(asked, place), name="resolver", daemon=True).start()  # no end waits for it
        return asked


def answer(asked: Future[list[Any]], place: Place) -> None:
    """Ask the system, and tell who waits."""
    try:
        asked.set_result(socket.getaddrinfo(*place, type=socket.SOCK_STREAM))
    except Exception as error:
        asked.set_exception(error)

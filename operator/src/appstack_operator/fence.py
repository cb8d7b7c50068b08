"""Stops a process whose Lease has run out, whatever it was about to do: nothing is written without the Lease."""

import asyncio
import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, NoReturn

logger = logging.getLogger(__name__)

WATCH_SECONDS = 0.5


def clock() -> float:
    """Seconds that go on while the process is stopped and while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def die(why: str) -> NoReturn:
    """End at once, without any clean-up that could write."""
    logger.critical("%s: this process ends, and starts again as a candidate", why)
    os._exit(1)


class Fence:
    """Open for as long as the Lease is surely ours; without a Lease it stays open."""

    def __init__(self, on_breach: Callable[[str], Any] = die) -> None:
        """Open: closed for the first time when a Lease is asked for."""
        self._open_until = float("inf")
        self._is_holding = False
        self._on_breach = on_breach

    @property
    def is_open(self) -> bool:
        """Whether a write may begin now."""
        return clock() < self._open_until

    def hold_until(self, moment: float) -> None:
        """The Lease is ours until then."""
        self._open_until = moment
        self._is_holding = True  # afterwards: the thread that checks may look in between

    def close(self) -> None:
        """Not ours yet, or given back: nothing may be written, and nothing is wrong about that."""
        self._is_holding, self._open_until = False, 0.0

    def lose(self, why: str) -> None:
        """Somebody else holds the Lease: end the process."""
        self._open_until = 0.0
        self._on_breach(why)

    def check(self) -> None:
        """End the process if its Lease has run out."""
        if self._is_holding and not self.is_open:
            self._on_breach("the Lease could not be renewed in time")

    def watch(self) -> None:
        """Check in a thread of its own, so that a stuck event loop ends too."""

        def go_on() -> None:
            while True:
                time.sleep(WATCH_SECONDS)
                self.check()

        threading.Thread(target=go_on, name="fence", daemon=True).start()

    def loop_factory(self) -> asyncio.AbstractEventLoop:
        """An event loop that checks before it hands out what it waited for, and before it sends anything.

        A process that was stopped (SIGSTOP, a frozen machine) goes on where it was. Most often it waited: whatever did,
        kopf's own requests included, is ended before it can go on. Or it was about to send what it had been allowed to.
        """
        return FencedLoop(self)


class FencedSelector(selectors.DefaultSelector):
    """Waits as usual, then looks whether the Lease is still there."""

    def __init__(self, fence: Fence) -> None:
        """Guard with this fence."""
        super().__init__()
        self._fence = fence

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As usual."""
        events = super().select(timeout)
        self._fence.check()
        return events


class FencedLoop(asyncio.SelectorEventLoop):
    """As usual, with a look at the Lease before each byte that leaves."""

    def __init__(self, fence: Fence) -> None:
        """Guard with this fence."""
        super().__init__(FencedSelector(fence))
        self.fence = fence

    def _make_socket_transport(self, *arguments: Any, **options: Any) -> Any:
        return self._fenced(super()._make_socket_transport(*arguments, **options))  # type: ignore[misc]

    def _make_ssl_transport(self, rawsock: Any, *arguments: Any, **options: Any) -> Any:
        transport = super()._make_ssl_transport(rawsock, *arguments, **options)  # type: ignore[misc]
        # Below it, too: what is written is encrypted first, and a busy processor may make that long.
        self._fenced(self._transports[rawsock.fileno()])  # type: ignore[attr-defined]
        return self._fenced(transport)

    def _fenced(self, transport: Any) -> Any:
        """The same transport, of a kind that looks at the Lease before it sends.

        Of another class, not with other attributes: those would refer to it in a circle, and each closed connection,
        with a quarter of a MiB where it was encrypted, would wait for the garbage collector.
        """
        kind: Any = type(transport)
        transport.__class__ = fenced_kind(kind)
        return transport


@cache
def fenced_kind(kind: Hashable) -> type:
    """A kind of transport of a fenced loop: its ways to send anything look at the Lease first."""

    class Fenced(kind):  # type: ignore[misc, valid-type]
        __slots__ = ()

        def write(self, data: Any) -> None:
            self._loop.fence.check()
            super().write(data)

        def writelines(self, data: Any) -> None:
            self._loop.fence.check()
            super().writelines(data)

    return Fenced

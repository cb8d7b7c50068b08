"""The command `server`: a keeper that is told when to stop, and the probes that it answers."""

import signal
import threading

from appstack_redis.keeper import Keeper
from appstack_redis.probes import serve
from appstack_redis.settings import Settings


def run(settings: Settings) -> int:
    """The command `server`."""
    keeper = Keeper(settings)
    # In a thread of its own: set() in the handler itself could meet the lock that wait() holds.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=keeper.stop.set).start())
    serve(state=keeper.state, live=keeper.live, ready=keeper.ready)
    return keeper.run()

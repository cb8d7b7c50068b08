"""The agent beside a Sentinel: keeps the role labels of the Redis pods right, so that `shop-redis-rw` follows."""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping

from appstack_redis import ghosts, kube, spin, timing
from appstack_redis.ask import ask_until_agreed
from appstack_redis.kube import Pod
from appstack_redis.resp import Connection, RedisError
from appstack_redis.settings import SENTINEL_PORT, Settings

log = logging.getLogger("roles")

ROLE_LABEL = "appstack.dev/role"
LOOK_SECONDS = 0.2
AGAIN_SECONDS = 0.5
RELABEL_SECONDS = 10.0  # a new pod has no label, and somebody may have changed one
TIDY_SECONDS = 10.0


def changes(master: str, pods: Mapping[str, Pod]) -> list[tuple[str, str]]:
    """The labels to write, the loser's first: two masters in `-rw` are worse than none.

    But the winner's goes before that of a loser that is being deleted: its server has ended and refuses whoever still
    comes, who then asks again; kube-proxy may wait for a second between two changes, in which nobody would be there.
    """
    wanted = {pod: "master" if pod == master else "replica" for pod in pods}
    wrong = [pod for pod, role in wanted.items() if pods[pod].labels.get(ROLE_LABEL) != role]
    return [(pod, wanted[pod]) for pod in sorted(wrong, key=lambda pod: (pods[pod].is_ending, pod == master))]


class LocalSentinel:
    """Our own Sentinel over one lasting connection: cheap enough to ask five times a second."""

    def __init__(self, settings: Settings) -> None:
        """Connect at the first question."""
        self._settings = settings
        self._connection: Connection | None = None

    def master(self) -> str | None:
        """The address that it names; None while it does not answer."""
        try:
            if self._connection is None:
                self._connection = Connection("127.0.0.1", SENTINEL_PORT, self._settings.password)
                self._name = self._settings.group().master_name
            answer = self._connection.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        except (OSError, RedisError):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None
        return str(answer[0]) if answer else None


def relabel(settings: Settings, selector: str) -> str | None:
    """Write what most Sentinels agree on. Returns the address they name; None if they do not agree."""
    group = settings.group()
    address = ask_until_agreed(group, settings.password)
    master = group.pod_at(address) if address else None
    if master is None:
        return None
    write(changes(master, kube.pods(selector)))
    return address


def write(wanted: Iterable[tuple[str, str]]) -> None:
    """Write every label that can be written, and only then raise what went wrong.

    A member that is being scaled away can no longer be labelled; the winner must not wait until its pod is gone.
    """
    failure: OSError | None = None
    for pod, role in wanted:
        try:
            kube.set_label(pod, ROLE_LABEL, role)
        except OSError as error:
            failure = failure or error
        else:
            log.info("%s is %s", pod, role)
    if failure is not None:
        raise failure


def run(settings: Settings) -> int:
    """The command `roles`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    selector = os.environ["REDIS_SELECTOR"]
    sentinel, labelled, due, said = LocalSentinel(settings), None, 0.0, ""
    watch, tidy_at, look_at = spin.Watch(settings), time.monotonic() + TIDY_SECONDS, 0.0
    while True:
        seen = sentinel.master()
        if seen and time.monotonic() > look_at:
            look_at = time.monotonic() + spin.LOOK_SECONDS
            try:
                watch.look()
            except (OSError, RedisError) as error:
                log.warning("cannot see whether Sentinel spins: %s", error)
        if seen == labelled and time.monotonic() > tidy_at:
            tidy_at = time.monotonic() + TIDY_SECONDS
            try:
                ghosts.tidy(settings)
                timing.calm_down("127.0.0.1", settings.password)
            except (OSError, RedisError) as error:
                log.warning("cannot look for members that are gone, or at how often Sentinel asks: %s", error)
        if seen and (seen != labelled or time.monotonic() > due):
            try:
                labelled, said = relabel(settings, selector), ""
                due = time.monotonic() + RELABEL_SECONDS
            except OSError as error:
                labelled = None
                if str(error) != said:
                    said = str(error)
                    log.warning("the API server did not take the labels, trying on: %s", said)
                time.sleep(AGAIN_SECONDS)
        time.sleep(LOOK_SECONDS)

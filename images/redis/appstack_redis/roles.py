"""The agent beside a Sentinel: keeps the role labels of the Redis pods right, so that `shop-redis-rw` follows."""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from appstack_redis import ghosts, kube, timing
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
LOST = {"o_down", "failover_in_progress"}  # flags of a master


def changes(master: str, pods: Mapping[str, Pod]) -> list[tuple[str, str]]:
    """The labels to write, the loser's first: two masters in `-rw` are worse than none, where nobody knows why.

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
        answer = self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME")
        return str(answer[0]) if answer else None

    def is_replacing(self, address: str) -> bool | None:
        """Whether it tries to replace that master, since most Sentinels find it down; None while it does not answer."""
        told = self._ask("SENTINEL", "MASTER")
        if told is None:
            return None
        facts = dict(zip(told[::2], told[1::2], strict=True))
        return facts.get("ip") == address and set(str(facts.get("flags")).split(",")) >= LOST

    def _ask(self, *words: str) -> Any:
        """Its answer about our master; None if there is none."""
        try:
            if self._connection is None:
                self._connection = Connection("127.0.0.1", SENTINEL_PORT, self._settings.password)
                self._name = self._settings.group().master_name
            return self._connection.call(*words, self._name)
        except (OSError, RedisError):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None


class Labels:
    """The labels as this agent has written them."""

    def __init__(self, settings: Settings, selector: str) -> None:
        """Nothing is written yet."""
        self.master: str | None = None  # the address of the pod that bears the label; None: to be looked at
        self._settings, self._selector = settings, selector
        self._former: str | None = None  # who bore it before that
        self._lost: str | None = None
        self._due = 0.0

    def follow(self, seen: str, *, is_lost: bool | None) -> None:
        """Name the master that was seen, or nobody while it is being replaced. Raises OSError; then it is tried again.

        So the loser leaves `-rw` a second or two before the winner comes: kube-proxy may wait for a second between two
        changes. Should the failover fail, the former master comes back.
        """
        if seen == self._lost and is_lost is not False:
            return
        if is_lost:
            self.master = None
            leave(self._settings, self._selector, seen)
            self._lost = seen
        elif seen != self.master or time.monotonic() > self._due:
            self._former, self.master = self.master or self._former, None
            self.master, self._lost = relabel(self._settings, self._selector, self._former), None
            self._due = time.monotonic() + RELABEL_SECONDS


def relabel(settings: Settings, selector: str, former: str | None = None) -> str | None:
    """Write what most Sentinels agree on. Returns the address they name; None if they do not agree.

    Where it is known who bore the label until now, both labels move before anybody is listed: writes wait. The winner's
    goes first: else kube-proxy may leave nobody there for a second. Who led has stopped by then, or holds its writes;
    after a failover by hand it goes on to take them for this moment more, as since the promotion.
    """
    group = settings.group()
    address = ask_until_agreed(group, settings.password)
    master, loser = (group.pod_at(each) if each else None for each in (address, former))
    if master is None:
        return None
    if loser and loser != master:
        with suppress(OSError):  # what was not written is seen in the list
            write([(master, "master"), (loser, "replica")])
    write(changes(master, kube.pods(selector)))
    return address


def leave(settings: Settings, selector: str, address: str) -> None:
    """Take the label off a master that is being replaced."""
    name = settings.group().pod_at(address)
    pod = kube.pods(selector).get(name or "")
    if name and pod and pod.labels.get(ROLE_LABEL) == "master":
        write([(name, "replica")])


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
    sentinel, labels, said = LocalSentinel(settings), Labels(settings, os.environ["REDIS_SELECTOR"]), ""
    tidy_at = time.monotonic() + TIDY_SECONDS
    while True:
        seen = sentinel.master()
        if seen and seen == labels.master and time.monotonic() > tidy_at:
            tidy_at = time.monotonic() + TIDY_SECONDS
            try:
                ghosts.tidy(settings)
                timing.calm_down("127.0.0.1", settings.password)
            except (OSError, RedisError) as error:
                log.warning("cannot look for members that are gone, or at how often Sentinel asks: %s", error)
        if seen:
            try:
                labels.follow(seen, is_lost=sentinel.is_replacing(seen))
                said = ""
            except OSError as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("the API server did not take the labels, trying on: %s", said)
                time.sleep(AGAIN_SECONDS)
        time.sleep(LOOK_SECONDS)

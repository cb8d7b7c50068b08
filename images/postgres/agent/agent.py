#!/usr/bin/python3
"""Beside every member: releases the lock of a silent primary early, where release_rules.py allows it; restarts
PostgreSQL where a changed parameter asks for it (pending_restart.py); says which settings it refuses (parameters.py);
asks for a fresh copy where the primary has removed WAL that this member needs (ask_fresh_copy.py).
"""

from __future__ import annotations

import math
import os
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import ask_fresh_copy
import kube
import parameters
import patroni_api
import pending_restart
from release_rules import Attempt, Request, Sign, Step, Stored, Watch, address_of, holder_of, is_fit, patience
from take_role import ROLE_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.2
PAUSE_SECONDS = 1.0  # before a task that failed begins anew
PROBE_SECONDS = 0.75
# An attempt that merely got no answer is made again after this long; all others begin to count anew.
AGAIN_SECONDS = 0.5
WATCH_SILENCE_SECONDS = 8.0
CONFIG_SECONDS = 5.0
LOOP_WAIT_SECONDS = 10  # Patroni's default
SQL_PORT = 5432
QUESTIONS = 4  # at once: two to the holder, and to an API server that is slow what is left of two rounds
ENDED = ("Succeeded", "Failed")  # phases of a pod whose processes have all ended
# PostgreSQL answers this with one byte, without a password and before it looks at anything.
SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)


def say(text: str) -> None:
    """One line in the member's log."""
    print(f"agent: {text}", file=sys.stderr, flush=True)


def go_on(task: Callable[..., None], *arguments: Any) -> None:
    """Run a task that never ends by itself, and begin it anew whatever ends it: nobody misses a dead thread."""
    while True:
        try:
            task(*arguments)
        except Exception as error:
            say(f"{threading.current_thread().name} begins anew after {error!r}")
        time.sleep(PAUSE_SECONDS)


class Newest:
    """The newest lock that the API server told of; a thread of its own listens."""

    def __init__(self, scope: str) -> None:
        """Nothing is known yet."""
        self.lock: Stored | None = None
        self._path = f"configmaps?fieldSelector=metadata.name%3D{scope}-leader"
        threading.Thread(target=go_on, args=(self._listen,), name="watch", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                for found in kube.watch(self._path, WATCH_SILENCE_SECONDS):
                    self.lock = stored(found)
            except OSError:
                # What is known stays: an attempt asks the store itself, so old news cannot mislead it.
                time.sleep(1)


class Patience:
    """How long a lock has to stand still: Patroni's own configuration says how often it is renewed, and may change."""

    def __init__(self, least_seconds: float) -> None:
        """Endless until Patroni has told it."""
        self.seconds = math.inf
        threading.Thread(target=go_on, args=(self._follow, least_seconds), name="patience", daemon=True).start()

    def _follow(self, least_seconds: float) -> None:
        while True:
            try:
                config = patroni_api.ask("GET", "/config")
            except OSError:
                config = None  # Patroni is starting, stopping or slow: what is known stays
            if isinstance(config, dict):
                self.seconds = patience(least_seconds, float(config.get("loop_wait", LOOP_WAIT_SECONDS)))
            time.sleep(CONFIG_SECONDS)


def stored(found: Any) -> Stored:
    """A ConfigMap as the rules see it."""
    meta = found["metadata"]
    return Stored(meta["resourceVersion"], meta.get("annotations") or {})


def perform(scope: str, request: Request) -> Stored | None:
    """One request of an attempt; None if it failed or was refused."""
    path = f"configmaps/{scope}-{request.suffix}"
    try:
        if request.change is None:
            return stored(kube.call("GET", path))
        meta = {"resourceVersion": request.version, "annotations": request.change}
        return stored(kube.call("PATCH", path, {"metadata": meta}))
    except OSError as error:
        say(f"{request.suffix}: {error}")
        return None


def exchange(host: str, port: int, question: bytes, limit: int) -> tuple[Sign, bytes]:
    """Send something and read the first of the answer."""
    try:
        connection = socket.create_connection((host, port), PROBE_SECONDS)
    except OSError:
        return Sign.NOTHING, b""
    with connection:
        try:
            connection.settimeout(PROBE_SECONDS)
            connection.sendall(question)
            answer = connection.recv(limit)
        except OSError:
            return Sign.MUTE, b""
        return Sign.ANSWER if answer else Sign.MUTE, answer


def sign_of_patroni(host: str) -> Sign:
    """Whether a member's Patroni speaks; it asks PostgreSQL first, so it is mute with a frozen one."""
    return exchange(host, patroni_api.PORT, b"GET /patroni HTTP/1.0\r\n\r\n", 1)[0]


def sign_of_postgres(host: str) -> Sign:
    """Whether a PostgreSQL server speaks at that address; a frozen one accepts connections and says nothing."""
    return exchange(host, SQL_PORT, SSL_REQUEST, 1)[0]


def is_gone(member: str, host: str) -> bool:
    """Whether Kubernetes knows no running pod of that name at that address: it was deleted, replaced, or has ended."""
    try:
        status = kube.call("GET", f"pods/{member}").get("status", {})
    except HTTPError as error:
        return error.code == HTTPStatus.NOT_FOUND
    except OSError:
        return False  # nobody says so
    return status.get("podIP") != host or status.get("phase") in ENDED


def ask_holder(pool: ThreadPoolExecutor, lock: Stored) -> Sign:
    """Ask the lock's holder in both ways at once; of one that is not there Kubernetes says whether it ever comes back.

    Nobody else is a reason to ask: all standbys would do it together, whenever the API server is slow to renew locks.
    """
    holder = holder_of(lock)
    host = address_of(lock, holder)
    if not host:
        return Sign.ANSWER  # whoever cannot be asked has not been silent
    signs = [pool.submit(ask, host) for ask in (sign_of_patroni, sign_of_postgres)]
    found = max((sign.result() for sign in signs), key=lambda sign: sign.value)
    if found is not Sign.NOTHING:
        return found
    try:
        return Sign.GONE if pool.submit(is_gone, holder, host).result(PROBE_SECONDS) else Sign.NOTHING
    except TimeoutError:
        return Sign.NOTHING


def own_status() -> dict[str, Any]:
    """What this member's own Patroni says of itself; empty: nothing in time."""
    try:
        status: dict[str, Any] = patroni_api.ask("GET", "/patroni", timeout_seconds=PROBE_SECONDS)
    except OSError:
        return {}
    return status


def release(scope: str, watch: Watch) -> bool:
    """One attempt from beginning to end; whether to make it again soon, because somebody gave no answer in time."""
    status = own_status()
    if not is_fit(status):
        say(f"{watch.record[0]} is silent, but this member cannot lead: {status.get('state', 'its Patroni is silent')}")
        return not status
    attempt = Attempt(watch.me, watch.record)
    while attempt.step is not Step.DONE:
        attempt = attempt.after(perform(scope, attempt.request))
    still = watch.looked_at - watch.still_since
    told = f"{watch.record[0]} is silent and its lock has not been renewed for {still:.1f} s"
    say(f"{told}, but {attempt.why_not}" if attempt.why_not else f"{told}: released the lock")
    if not attempt.why_not:
        refuse_clients_of(watch.record[0])
    return attempt.is_unanswered


def refuse_clients_of(loser: str) -> None:
    """Take the loser out of `-rw` now: clients are refused at once and try again, instead of waiting for a dead node.

    If it lives and takes the lock again, its own Patroni labels it.
    """
    try:
        kube.call("PATCH", f"pods/{loser}", {"metadata": {"labels": {ROLE_LABEL: None}}})
    except OSError as error:
        say(f"the role label of {loser} stays until the promotion: {error}")


def main() -> None:
    """All tasks, for ever."""
    me, scope = os.environ["POD_NAME"], os.environ["PATRONI_SCOPE"]
    patience_seconds = float(os.environ.get("EARLY_FAILOVER_SECONDS") or 0)
    threading.Thread(target=go_on, args=(parameters.main, me, say), name="parameters", daemon=True).start()
    threading.Thread(target=go_on, args=(ask_fresh_copy.main, me, say), name="fresh copy", daemon=True).start()
    if patience_seconds <= 0:
        go_on(pending_restart.main, me, say)
    threading.Thread(target=go_on, args=(pending_restart.main, me, say), name="restarts", daemon=True).start()
    guard_lock(me, scope, Patience(patience_seconds))


def guard_lock(me: str, scope: str, needed: Patience) -> None:
    """Look, ask, release; for ever."""
    newest, watch, not_before = Newest(scope), Watch(me), 0.0
    with ThreadPoolExecutor(QUESTIONS) as pool:
        while True:
            slept_at = time.monotonic()
            time.sleep(POLL_SECONDS)
            now, lock = time.monotonic(), newest.lock
            if lock is None:
                continue
            watch = watch.look(lock, now, late_seconds=now - slept_at - POLL_SECONDS)
            patience_seconds = needed.seconds
            if watch.is_suspicious(patience_seconds):
                watch = watch.heard(ask_holder(pool, lock))
                # A question to a mute holder takes its time, in which its lock stood still, or did not.
                watch = watch.look(newest.lock or lock, time.monotonic())
            if watch.has_waited(patience_seconds) and now >= not_before:
                if release(scope, watch):
                    not_before = time.monotonic() + AGAIN_SECONDS
                else:
                    watch = Watch(me)  # before another attempt it counts anew


if __name__ == "__main__":
    main()

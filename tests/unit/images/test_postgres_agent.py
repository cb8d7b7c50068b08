"""What a standby's agent takes for a sign of life: real sockets, answering, mute, and closed."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPMessage
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.error import HTTPError

import agent
import kube
import patroni_api
import pytest
from release_rules import Sign, Stored

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD, ME = "shop-postgres-0", "shop-postgres-1"
FIT = {"role": "replica", "state": "running"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port that accepts connections, as the kernel does for a frozen process, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def port_of(found: socket.socket) -> int:
    port: int = found.getsockname()[1]
    return port


def ask(port: int) -> Sign:
    return agent.exchange("127.0.0.1", port, agent.SSL_REQUEST, 1)[0]


def test_a_frozen_process_is_mute(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PROBE_SECONDS", 0.2)
    assert ask(port_of(listener)) is Sign.MUTE


def test_a_server_that_hangs_up_without_a_word_is_mute(listener: socket.socket) -> None:
    hang_up = threading.Thread(target=lambda: listener.accept()[0].close())
    hang_up.start()
    assert ask(port_of(listener)) is Sign.MUTE
    hang_up.join()


def test_one_byte_is_an_answer(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PROBE_SECONDS", 60.0)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(8) == agent.SSL_REQUEST
            connection.sendall(b"N")

    server = threading.Thread(target=serve)
    server.start()
    assert ask(port_of(listener)) is Sign.ANSWER
    server.join()


def test_a_port_without_a_process_is_nothing(listener: socket.socket) -> None:
    port = port_of(listener)
    listener.close()
    assert ask(port) is Sign.NOTHING


def test_the_question_is_postgresql_s_request_for_encryption() -> None:
    assert bytes.fromhex("0000000804d2162f") == agent.SSL_REQUEST


def test_a_holder_whose_address_is_unknown_counts_as_alive() -> None:
    with ThreadPoolExecutor(2) as pool:
        assert agent.ask_holder(pool, Stored("1", {"leader": OLD})) is Sign.ANSWER


def test_one_way_that_answers_is_enough(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "sign_of_patroni", lambda _host: Sign.NOTHING)
    monkeypatch.setattr(agent, "sign_of_postgres", lambda _host: Sign.ANSWER)
    members = json.dumps({OLD: "http://127.0.0.1:8008/patroni"})
    with ThreadPoolExecutor(2) as pool:
        assert agent.ask_holder(pool, Stored("1", {"leader": OLD, "failsafe": members})) is Sign.ANSWER


NOT_FOUND = HTTPError("", 404, "", HTTPMessage(), None)


@pytest.mark.parametrize(
    ("pod", "sign"),
    [
        ({"status": {"podIP": "127.0.0.1", "phase": "Running"}}, Sign.NOTHING),
        ({"status": {"podIP": "127.0.0.2", "phase": "Running"}}, Sign.GONE),  # its successor
        ({"status": {"phase": "Pending"}}, Sign.GONE),  # its successor, on its way
        ({"status": {"podIP": "127.0.0.1", "phase": "Failed"}}, Sign.GONE),  # evicted
        (NOT_FOUND, Sign.GONE),
        (HTTPError("", 403, "", HTTPMessage(), None), Sign.NOTHING),
        (OSError("the API server is away"), Sign.NOTHING),
    ],
)
def test_a_silent_holder_is_gone_where_kubernetes_says_so(
    monkeypatch: pytest.MonkeyPatch, pod: dict[str, Any] | OSError, sign: Sign
) -> None:
    def call(method: str, path: str) -> dict[str, Any]:
        assert (method, path) == ("GET", f"pods/{OLD}")
        if isinstance(pod, OSError):
            raise pod
        return pod

    monkeypatch.setattr(kube, "call", call)
    monkeypatch.setattr(agent, "sign_of_patroni", lambda _host: Sign.NOTHING)
    monkeypatch.setattr(agent, "sign_of_postgres", lambda _host: Sign.NOTHING)
    members = json.dumps({OLD: "http://127.0.0.1:8008/patroni"})
    with ThreadPoolExecutor(agent.QUESTIONS) as pool:
        assert agent.ask_holder(pool, Stored("1", {"leader": OLD, "failsafe": members})) is sign


def test_a_holder_that_speaks_is_alive_whatever_kubernetes_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def is_gone(member: str, _host: str) -> bool:
        asked.append(member)
        return True

    monkeypatch.setattr(agent, "is_gone", is_gone)
    monkeypatch.setattr(agent, "sign_of_patroni", lambda _host: Sign.NOTHING)
    members = json.dumps({OLD: "http://127.0.0.1:8008/patroni"})
    for sign in (Sign.ANSWER, Sign.MUTE):
        monkeypatch.setattr(agent, "sign_of_postgres", lambda _host, sign=sign: sign)
        with ThreadPoolExecutor(agent.QUESTIONS) as pool:
            assert agent.ask_holder(pool, Stored("1", {"leader": OLD, "failsafe": members})) is sign
    assert not asked, "an API server that is slow shall not be asked more for it"


def test_nobody_waits_for_a_slow_api_server_to_say_who_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "PROBE_SECONDS", 0.1)
    answered = threading.Event()
    monkeypatch.setattr(agent, "is_gone", lambda *_: answered.wait(60))
    monkeypatch.setattr(agent, "sign_of_patroni", lambda _host: Sign.NOTHING)
    monkeypatch.setattr(agent, "sign_of_postgres", lambda _host: Sign.NOTHING)
    members = json.dumps({OLD: "http://127.0.0.1:8008/patroni"})
    with ThreadPoolExecutor(agent.QUESTIONS) as pool:
        assert agent.ask_holder(pool, Stored("1", {"leader": OLD, "failsafe": members})) is Sign.NOTHING
        answered.set()


def a_patience(least_seconds: float, monkeypatch: pytest.MonkeyPatch, *, loop_wait: float = 0.0) -> agent.Patience:
    """As the member's own Patroni tells of its loops."""
    monkeypatch.setattr(patroni_api, "ask", lambda *_: {"loop_wait": loop_wait})
    found, end = agent.Patience(least_seconds), time.monotonic() + 60
    while found.seconds > 1000 and time.monotonic() < end:
        time.sleep(0.01)
    return found


class Enough(Exception):
    """The test has seen what it wanted to see."""


@pytest.fixture
def silent_primary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that stands still, and a holder that is gone."""

    class Still:
        lock = Stored("1", {"leader": OLD, "renewTime": "1"})

        def __init__(self, _scope: str) -> None:
            """Listens to nobody."""

    monkeypatch.setattr(agent, "Newest", Still)
    monkeypatch.setattr(agent, "ask_holder", lambda *_: Sign.NOTHING)


@pytest.mark.parametrize("who", ["its own Patroni", "the store"])
@pytest.mark.usefixtures("silent_primary")
def test_an_attempt_that_got_no_answer_is_made_again_without_another_patience(
    monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    asked: list[float] = []

    def silent_once(answer: Any) -> Any:
        asked.append(time.monotonic())
        if len(asked) == 2:
            raise Enough
        return answer

    monkeypatch.setattr(agent, "own_status", lambda: silent_once({}) if who == "its own Patroni" else FIT)
    monkeypatch.setattr(agent, "perform", lambda *_: silent_once(None))
    with pytest.raises(Enough):
        agent.guard_lock(ME, "shop-postgres", a_patience(5.0, monkeypatch))
    assert agent.AGAIN_SECONDS <= asked[1] - asked[0] < 4


@pytest.mark.usefixtures("silent_primary")
def test_an_attempt_that_was_told_no_counts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def renewed(*_: Any) -> Stored:
        asked.append(time.monotonic())
        if len(asked) == 2:
            raise Enough
        return Stored("2", {"leader": OLD, "renewTime": "2"})

    monkeypatch.setattr(agent, "own_status", lambda: FIT)
    monkeypatch.setattr(agent, "perform", renewed)
    with pytest.raises(Enough):
        agent.guard_lock(ME, "shop-postgres", a_patience(1.0, monkeypatch))
    assert asked[1] - asked[0] >= 1.0


class Clock:
    """Time that passes only where somebody waits."""

    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.mark.usefixtures("silent_primary")
def test_the_time_that_a_mute_holder_takes_is_not_waited_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, begin = Clock(), Clock.seconds
    asked: list[float] = []

    def ask(*_: Any) -> Sign:
        clock.sleep(agent.PROBE_SECONDS)
        asked.append(clock.seconds)
        return Sign.MUTE

    def release(*_: Any) -> bool:
        raise Enough

    monkeypatch.setattr(agent, "time", clock)
    monkeypatch.setattr(agent, "ask_holder", ask)
    monkeypatch.setattr(agent, "release", release)
    with pytest.raises(Enough):
        agent.guard_lock(ME, "shop-postgres", cast("agent.Patience", SimpleNamespace(seconds=3.0)))
    assert clock.seconds == asked[-1], "what it has just heard is news"
    assert 4.5 <= clock.seconds - begin < 4.5 + agent.PROBE_SECONDS


@pytest.mark.usefixtures("silent_primary")
def test_a_lock_that_is_renewed_while_its_holder_is_asked_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, listening = Clock(), SimpleNamespace(lock=Stored("1", {"leader": OLD, "renewTime": "1"}))

    def ask(*_: Any) -> Sign:
        clock.sleep(agent.PROBE_SECONDS)
        if clock.seconds > 120:
            raise Enough
        if clock.seconds > 103.5:  # just when it has been waited for long enough
            listening.lock = Stored("2", {"leader": OLD, "renewTime": str(clock.seconds)})
        return Sign.MUTE

    def release(*_: Any) -> bool:
        raise AssertionError("released")

    monkeypatch.setattr(agent, "time", clock)
    monkeypatch.setattr(agent, "Newest", lambda _: listening)
    monkeypatch.setattr(agent, "ask_holder", ask)
    monkeypatch.setattr(agent, "release", release)
    with pytest.raises(Enough):
        agent.guard_lock(ME, "shop-postgres", cast("agent.Patience", SimpleNamespace(seconds=3.0)))


def test_what_the_api_server_says_wrongly_once_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [{"kind": "Status"}, {"metadata": {"resourceVersion": "7"}}]

    def watch(*_: Any) -> Iterator[Any]:
        if answers:
            yield answers.pop(0)
        time.sleep(0.05)
        raise OSError("the watch ended")

    monkeypatch.setattr(kube, "watch", watch)
    monkeypatch.setattr(agent, "PAUSE_SECONDS", 0.05)
    newest, end = agent.Newest("shop-postgres"), time.monotonic() + 60
    while newest.lock is None and time.monotonic() < end:
        time.sleep(0.05)
    assert newest.lock == Stored("7", {})


@pytest.mark.parametrize(("loop_wait", "seconds"), [(1, 3.0), (3, 9.0)], ids=["two instances", "three or more"])
def test_three_renewals_have_to_be_missing_however_often_patroni_makes_them(
    monkeypatch: pytest.MonkeyPatch, loop_wait: float, seconds: float
) -> None:
    assert a_patience(3.0, monkeypatch, loop_wait=loop_wait).seconds == seconds


def test_nobody_is_impatient_whose_patroni_has_not_answered_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any) -> Any:
        raise OSError("refused")

    monkeypatch.setattr(patroni_api, "ask", silent)
    assert agent.Patience(3.0).seconds == math.inf

"""What a connection tells: real sockets on loopback."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from appstack_operator.rounds import Word
from appstack_operator.services import knock as module
from appstack_operator.services.knock import knock, word_of
from tests.silence import a_silent_port

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def port() -> Iterator[int]:
    """Where somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_who_listens_answers(port: int) -> None:
    assert await knock("127.0.0.1", port) is Word.ANSWER


async def test_a_refusal_is_an_answer(port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert await knock("127.0.0.1", port) is Word.ANSWER


async def test_who_says_nothing_is_silent_after_a_second() -> None:
    with a_silent_port() as port:
        begun = time.monotonic()
        assert await knock("127.0.0.1", port) is Word.SILENCE
        assert 0.9 < time.monotonic() - begun < 5


async def test_an_answer_that_came_while_the_process_was_busy_counts(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT_SECONDS", 0.05)
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def connect_and_be_busy(door: socket.socket, address: object) -> None:
        await connect(door, address)  # type: ignore[arg-type]
        await asyncio.sleep(1)  # it is past the time before anybody looks

    monkeypatch.setattr(loop, "sock_connect", connect_and_be_busy)
    assert await knock("127.0.0.1", port) is Word.ANSWER


async def test_a_question_that_cannot_be_put_is_no_silence() -> None:
    assert await knock("no address", 80) is Word.UNASKED


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (errno.EHOSTUNREACH, Word.SILENCE),
        (errno.ENETUNREACH, Word.SILENCE),
        (errno.ETIMEDOUT, Word.SILENCE),
        (errno.ECONNREFUSED, Word.ANSWER),
        (errno.EMFILE, Word.UNASKED),
        (errno.EPERM, Word.UNASKED),
        (None, Word.UNASKED),
    ],
)
def test_errors_of_the_system_mean(code: int | None, word: Word) -> None:
    assert word_of(code) is word


async def test_no_socket_stays_open(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    doors: list[socket.socket] = []

    class Door(socket.socket):
        def __init__(self, *arguments: int) -> None:
            super().__init__(*arguments)
            doors.append(self)

    with a_silent_port() as silent, monkeypatch.context() as patch:
        patch.setattr(
            module, "socket", SimpleNamespace(**{**vars(socket), "socket": Door})
        )  # other threads' are theirs
        words = [await knock("127.0.0.1", where) for where in (port, silent)]
    assert words == [Word.ANSWER, Word.SILENCE]
    assert len(doors) == len(words) and all(door.fileno() == -1 for door in doors)

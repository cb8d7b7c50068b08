"""Nothing leaves a process whose Lease has run out, however it was kept from knowing."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from asyncio.sslproto import SSLProtocol
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from appstack_lab.pki import Subject, new_authority
from appstack_operator.fence import Fence, clock

if TYPE_CHECKING:
    from pathlib import Path


class Breach(Exception):
    """What ends the process elsewhere."""


def breach(why: str) -> None:
    raise Breach(why)


@dataclass(frozen=True)
class Doors:
    """Both ends of encryption."""

    trust: ssl.SSLContext
    own: ssl.SSLContext


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    new_authority("ca", tmp_path).sign(Subject("server", "server", names=("127.0.0.1",)), tmp_path)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    return Doors(ssl.create_default_context(cafile=str(tmp_path / "ca.crt")), own)


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "encrypted"])
def test_what_was_allowed_to_be_sent_is_not_sent_after_the_lease(doors: Doors, *, is_encrypted: bool) -> None:
    """A process may be stopped between the look at its Lease and the first byte, and go on minutes later."""
    fence = Fence(breach)

    async def send(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=doors.trust if is_encrypted else None)
        fence.hold_until(clock() + 600)
        writer.write(b"in time")
        fence.hold_until(clock() - 1)
        with pytest.raises(Breach):
            writer.write(b"too late")
        with pytest.raises(Breach):
            writer.writelines([b"too ", b"late"])
        fence.close()  # or the loop would end with the next thing that it waits for
        writer.close()
        await writer.wait_closed()

    def serve(server: socket.socket) -> bytes:
        with server.accept()[0] as plain:
            plain.settimeout(20)
            connection = doors.own.wrap_socket(plain, server_side=True) if is_encrypted else plain
            return connection.recv(100) + connection.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        heard = pool.submit(serve, server)
        with asyncio.Runner(loop_factory=fence.loop_factory) as runner:
            runner.run(send(server.getsockname()[1]))
        assert heard.result(60) == b"in time"


def test_what_was_encrypted_in_time_is_not_sent_after_the_lease(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process was stopped while it encrypted a write, and sent it as it went on, beside its successor's."""
    breaches: list[str] = []

    def note(why: str) -> None:
        breaches.append(why)
        raise Breach(why)

    fence, encrypt = Fence(note), SSLProtocol._do_write  # type: ignore[attr-defined]
    is_stopped = False

    def encrypt_late(protocol: SSLProtocol) -> None:
        if is_stopped:
            fence.hold_until(clock() - 1)
        encrypt(protocol)

    monkeypatch.setattr(SSLProtocol, "_do_write", encrypt_late)

    async def send(port: int) -> None:
        nonlocal is_stopped
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=doors.trust)
        fence.hold_until(clock() + 600)
        writer.write(b"in time")
        is_stopped = True
        writer.write(b"too late")
        is_stopped = False
        fence.close()
        writer.transport.abort()

    def serve(server: socket.socket) -> bytes:
        with server.accept()[0] as plain:
            plain.settimeout(20)
            connection = doors.own.wrap_socket(plain, server_side=True)
            heard = connection.recv(100)
            with suppress(OSError):  # its end may come without a word
                heard += connection.recv(100)
            return heard

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        heard = pool.submit(serve, server)
        with asyncio.Runner(loop_factory=fence.loop_factory) as runner:
            runner.run(send(server.getsockname()[1]))
        assert heard.result(60) == b"in time"
    assert len(breaches) == 1


def test_a_closed_encrypted_connection_waits_for_no_garbage_collector(doors: Doors) -> None:
    """It runs rarely in the operator, and each connection holds a quarter of a MiB."""
    left: list[weakref.ref[object]] = []

    async def come_and_go() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        serving = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=doors.own)
        port = serving.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=doors.trust)
        left.append(weakref.ref(writer.transport))
        writer.write(b"a word")
        writer.close()
        await writer.wait_closed()
        serving.close()
        del writer
        for _ in range(20):  # what is still to be called back holds it until then
            await asyncio.sleep(0.05)

    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=Fence().loop_factory) as runner:
            runner.run(come_and_go())
        assert [each() for each in left] == [None]
    finally:
        gc.enable()

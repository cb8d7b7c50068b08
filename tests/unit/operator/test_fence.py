"""Nothing leaves a process whose Lease has run out, however it was kept from knowing."""

from __future__ import annotations

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
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


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "encrypted"])
def test_what_was_allowed_to_be_sent_is_not_sent_after_the_lease(tmp_path: Path, *, is_encrypted: bool) -> None:
    """A process may be stopped between the look at its Lease and the first byte, and go on minutes later."""
    new_authority("ca", tmp_path).sign(Subject("server", "server", names=("127.0.0.1",)), tmp_path)
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    fence = Fence(breach)

    async def send(port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust if is_encrypted else None)
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
            connection = own.wrap_socket(plain, server_side=True) if is_encrypted else plain
            return connection.recv(100) + connection.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        heard = pool.submit(serve, server)
        with asyncio.Runner(loop_factory=fence.loop_factory) as runner:
            runner.run(send(server.getsockname()[1]))
        assert heard.result(60) == b"in time"

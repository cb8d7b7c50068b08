"""The TCP connection to RabbitMQ: made past nodes that are gone, and given up soon when its node goes."""

import asyncio
import socket
import ssl
from typing import Any, cast

import aio_pika
from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

# Behind one address are several nodes, and for most of a minute Kubernetes goes on choosing one that is lost. Each try
# is chosen for anew; a node that lives takes a connection in milliseconds, whatever its server does. A try ends before
# the kernel repeats its first packet, after a second: that one may be led elsewhere, where nobody waits for it.
TRY_SECONDS, TRIES = 0.9, 4
# A node that is gone is noticed by our kernel within five seconds, whether it owes us an acknowledgement or a sign of
# life. A broker that stands still on a node that lives is not: the kernel there acknowledges for it.
OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4_000),
)
# RabbitMQ gives a sign of life after half of the heartbeat without a word, after all of it at the latest, and lets a
# client go after twice as long. The library lets a broker go after three times as long and three seconds; we count
# looks, one a second: who stood still itself has not looked meanwhile.
HEARTBEAT_SECONDS, SILENT_LOOKS = 4, 6


class Connection(aio_pika.Connection):
    """A connection over such a wire."""

    def __init__(self, url: URL, **more: Any) -> None:
        super().__init__(url.update_query(heartbeat=str(HEARTBEAT_SECONDS)), **more)
        self.kwargs["transport_factory"] = Wires()


class Wires(TransportFactory):
    """What the library asks for a wire."""

    async def create(self, url: URL, **given: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises AMQPConnectionError where nobody listens."""
        host, port = url.host or "", url.port or 0
        context = await given["ssl_context_provider"].get_context() if url.scheme == "amqps" else None
        try:
            sock = await reach(host, port)
            return await listen(sock, context, host)
        except OSError as error:
            raise AMQPConnectionError(str(error) or "nobody answered") from error


class Protocol(asyncio.StreamReaderProtocol):
    """Breaks a connection on which nothing is heard any more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wire = cast("asyncio.Transport", transport)
        self._silent = -1  # the first look is made at once
        self._look()

    def data_received(self, data: bytes) -> None:
        self._silent = 0
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._next.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self._wire.is_reading():  # else more has come than was taken up
            self._silent += 1
        if self._silent >= SILENT_LOOKS:
            self._wire.abort()
        self._next = asyncio.get_running_loop().call_later(1.0, self._look)


async def listen(
    sock: socket.socket, context: ssl.SSLContext | None, host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As asyncio.open_connection does, with our protocol."""
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    transport, protocol = await loop.create_connection(
        lambda: Protocol(reader), sock=sock, ssl=context, server_hostname=host if context else None
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def reach(host: str, port: int) -> socket.socket:
    """A connected socket. Tries again at once where nobody answered, not where somebody refused. Raises OSError."""
    loop = asyncio.get_running_loop()
    for left in reversed(range(TRIES)):
        errors: list[OSError] = []
        for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                return await try_once(socket.socket(family, kind, protocol), address)
            except OSError as error:
                errors.append(error)
        if not left or not any(isinstance(error, TimeoutError) for error in errors):
            raise errors[0]
    raise AssertionError("unreachable")


async def try_once(sock: socket.socket, address: Any) -> socket.socket:
    """Connect, or close the socket and raise OSError."""
    try:
        sock.setblocking(False)
        for option in OPTIONS:
            sock.setsockopt(*option)
        async with asyncio.timeout(TRY_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock

"""The TCP connection to RabbitMQ: made past nodes that are gone, and given up soon when its node goes."""

import asyncio
import socket
from typing import Any

import aio_pika
from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

# Behind one address are several nodes, and for most of a minute Kubernetes goes on choosing one that is lost. Each try
# is chosen for anew; a node that lives takes a connection in milliseconds, whatever its server does. A try ends before
# the kernel repeats its first packet, after a second: that one may be led elsewhere, where nobody waits for it.
TRY_SECONDS, TRIES = 0.9, 4
# A node that is gone is noticed by our kernel within five seconds, whether it owes us an acknowledgement or a sign of
# life. The library's heartbeats take three times as long as they say, and three seconds more.
OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4_000),
)


class Connection(aio_pika.Connection):
    """A connection over such a wire."""

    def __init__(self, url: URL, **more: Any) -> None:
        super().__init__(url, **more)
        self.kwargs["transport_factory"] = Wires()


class Wires(TransportFactory):
    """What the library asks for a wire."""

    async def create(self, url: URL, **given: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises AMQPConnectionError where nobody listens."""
        host, port = url.host or "", url.port or 0
        context = await given["ssl_context_provider"].get_context() if url.scheme == "amqps" else None
        try:
            sock = await reach(host, port)
            return await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host if context else None)
        except OSError as error:
            raise AMQPConnectionError(str(error) or "nobody answered") from error


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

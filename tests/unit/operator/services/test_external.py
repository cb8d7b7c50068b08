"""Addresses of services that somebody else runs: whatever is written there, the answer is a sentence."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from appstack_lab.pki import new_authority
from appstack_operator.services.external import ask_external
from appstack_operator.services.rabbitmq import observe_external_queues

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("component", "key", "url", "says"),
    [
        ("postgres", "DATABASE_URL", "postgresql://app:secret@[::1/app", "is no connection string"),
        ("postgres", "DATABASE_URL", "http://[", "is no connection string"),
        ("redis", "REDIS_URL", "redis://:secret@[::1/0", "Invalid IPv6 URL"),
        ("redis", "REDIS_URL", f"redis://:secret@{NOBODY}/0?commandTimeout=5000", "connecting to 127.0.0.1:1"),
        ("rabbitmq", "RABBITMQ_URL", "amqp://app:secret@[::1/", "Invalid IPv6 URL"),
    ],
)
async def test_an_address_of_any_shape_ends_no_pass(component: str, key: str, url: str, says: str) -> None:
    """Each pass over the stack crashed, and nobody was told why nothing was done for it."""
    answer = (await ask_external({component: {key: url}}))[component]
    assert says in answer.error
    assert answer.error.startswith(key)
    assert "secret" not in answer.error


@pytest.mark.parametrize("key", ["RABBITMQ_URL", "RABBITMQ_MANAGEMENT_URL"])
async def test_a_broker_whose_addresses_cannot_be_read_has_no_queues(key: str) -> None:
    secret = {"RABBITMQ_URL": f"amqp://app:secret@{NOBODY}/", "RABBITMQ_MANAGEMENT_URL": f"http://{NOBODY}"}
    answer = await observe_external_queues({**secret, key: "http://app:secret@[::1/"})
    assert answer.error == "an URL in the Secret of the external broker cannot be read"


async def test_a_refusal_that_holds_a_line_break_is_told_whole() -> None:
    """`--from-file=DATABASE_URL` keeps the newline at the file's end; what was told then was `" does not exist`."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)  # asks for TLS
        writer.write(b"N")
        await reader.read(1000)
        said = b'SFATAL\0VFATAL\0C3D000\0Mdatabase "app\n" does not exist\0\0'
        writer.write(b"E" + (len(said) + 4).to_bytes(4, "big") + said)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        url = f"postgresql://app:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/app\n"
        answer = (await ask_external({"postgres": {"DATABASE_URL": url}}))["postgres"]
    assert answer.is_refused
    assert answer.error.endswith('FATAL:  database "app " does not exist')


@pytest.mark.timeout(60)
async def test_a_broker_that_resets_the_connection_is_only_unreachable() -> None:
    """aiormq's error was then its own cause's cause, and the operator went round in that circle for ever."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    async with server:
        url = f"amqp://app:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        answer = (await ask_external({"rabbitmq": {"RABBITMQ_URL": url}}))["rabbitmq"]
    assert "Connection reset by peer" in answer.error
    assert not answer.is_refused


@asynccontextmanager
async def behind_tls(folder: Path) -> AsyncIterator[str]:
    """A server with a certificate of an authority that only the pods know: its address."""
    new_authority("ca", folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "ca.key")

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("component", "key", "url"),
    [
        pytest.param("redis", "REDIS_URL", "rediss://:secret@{}/0", id="Redis"),
        pytest.param("redis", "REDIS_URL", "rediss://:secret@{}/0?ssl_ca_certs=/tls/ca.crt", id="Redis with its file"),
        pytest.param("rabbitmq", "RABBITMQ_URL", "amqps://app:secret@{}/", id="RabbitMQ"),
        pytest.param(
            "rabbitmq", "RABBITMQ_URL", "amqps://app:secret@{}/?cafile=/tls/ca.crt", id="RabbitMQ with its file"
        ),
    ],
)
async def test_certificates_are_the_business_of_the_pods(tmp_path: Path, component: str, key: str, url: str) -> None:
    """They hold the files of an authority of one's own; the operator's pod does not, and called the service away."""
    async with behind_tls(tmp_path) as address:
        answer = (await ask_external({component: {key: url.format(address)}}))[component]
    assert answer.error == ""

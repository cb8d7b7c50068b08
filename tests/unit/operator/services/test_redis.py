"""Redis and RabbitMQ tell lateness from a refusal, asked of a real socket that says nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientTimeout

from appstack_operator.services import http, rabbitmq, redis
from appstack_operator.services.rabbitmq import observe_rabbitmq
from appstack_operator.services.redis import observe_redis
from tests.unit.operator.factories import a_context, a_pod, a_stack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from appstack_operator.observed import RedisInstance

STACK, CREDENTIALS = a_stack(), a_context().credentials
SPEAKS, REFUSES = "127.0.0.1", "127.0.0.2"


@asynccontextmanager
async def mute() -> AsyncIterator[int]:
    """The port of a server that takes connections and never answers."""
    kept: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)

    server = await asyncio.start_server(say_nothing, SPEAKS, 0)
    yield server.sockets[0].getsockname()[1]
    for writer in kept:
        writer.close()
    server.close()


@pytest.mark.parametrize(("address", "is_late"), [(SPEAKS, True), (REFUSES, False)])
async def test_lateness_is_told_from_a_refusal(monkeypatch: pytest.MonkeyPatch, address: str, *, is_late: bool) -> None:
    seconds = 0.2 if is_late else 60.0
    monkeypatch.setattr(redis, "TIMEOUT_SECONDS", seconds)
    monkeypatch.setattr(http, "TIMEOUT", ClientTimeout(total=seconds))
    pods = [a_pod(STACK, component, podIP=address) for component in ("redis", "redis-sentinel", "rabbitmq")]
    async with mute() as port:
        for module, name in ((redis, "REDIS_PORT"), (redis, "SENTINEL_PORT"), (rabbitmq, "MANAGEMENT_PORT")):
            monkeypatch.setattr(module, name, port)
        said = await observe_redis(STACK, pods[:2], {}, CREDENTIALS)
        broker = await observe_rabbitmq(STACK, pods[2:], CREDENTIALS)
    answers = [*said.sentinels, *said.instances, broker]
    assert len(answers) == 3
    assert [(bool(each.error), each.is_late) for each in answers] == [(True, is_late)] * 3


@asynccontextmanager
async def scripted(answers: dict[str, bytes]) -> AsyncIterator[int]:
    """The port of a server that answers to the first two words of each command, or the first; all may enter."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while header := await reader.readline():
            words = []
            for _ in range(int(header[1:])):
                size = int((await reader.readline())[1:])
                words.append((await reader.readexactly(size + 2))[:-2].decode())
            writer.write(answers.get(" ".join(words[:2])) or answers[words[0]])
        writer.close()

    answers = {"HELLO": b"%1\r\n" + bulk("proto") + b":3\r\n", **answers}
    server = await asyncio.start_server(answer, SPEAKS, 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def bulk(text: str) -> bytes:
    return f"${len(text)}\r\n{text}\r\n".encode()


async def test_what_a_replica_says_of_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "# Replication\r\nrole:slave\r\nmaster_host:a:b\r\nmaster_link_status:up\r\nslave_repl_offset:90\r\n"
    async with scripted({"INFO": bulk(f"{said}connected_slaves:0\r\nmaster_repl_offset:100\r\n")}) as port:
        monkeypatch.setattr(redis, "REDIS_PORT", port)
        found = await redis.ask_instance(a_pod(STACK, "redis", podIP=SPEAKS), "a password")
    assert (found.error, found.role, found.link_up, found.lag_bytes) == ("", "slave", True, 10)


@pytest.mark.parametrize("hello", [b"*1\r\n+a\r\n", b"+OK\r\n", b":1\r\n", b"_\r\n"], ids=bytes.decode)
async def test_what_does_not_speak_as_redis_does_ends_no_pass(monkeypatch: pytest.MonkeyPatch, hello: bytes) -> None:
    async with scripted({"HELLO": hello}) as port:
        monkeypatch.setattr(redis, "REDIS_PORT", port)
        found = await redis.ask_instance(a_pod(STACK, "redis", podIP=SPEAKS), "a password")
    assert (found.error, found.is_late) == ("what answers does not speak as Redis does", False)


@pytest.mark.parametrize(
    ("counted", "good", "alone"),
    [
        pytest.param(
            "connected_slaves:2\r\nmin_slaves_good_slaves:0\r\n", 0, False, id="two copy still, or are silent"
        ),
        pytest.param("connected_slaves:2\r\nmin_slaves_good_slaves:1\r\n", 1, False, id="one follows"),
        pytest.param("connected_slaves:1\r\n", 1, True, id="it takes writes alone"),
    ],
)
async def test_what_a_master_says_of_its_replicas(
    monkeypatch: pytest.MonkeyPatch, counted: str, good: int, alone: bool
) -> None:
    said = f"# Replication\r\nrole:master\r\n{counted}master_repl_offset:100\r\n"
    async with scripted({"INFO": bulk(said)}) as port:
        monkeypatch.setattr(redis, "REDIS_PORT", port)
        found = await redis.ask_instance(a_pod(STACK, "redis", podIP=SPEAKS), "a password")
    assert (found.error, found.role, found.good_replicas, found.takes_writes_alone) == ("", "master", good, alone)


@pytest.mark.parametrize(("told", "fails"), [("ok", False), ("err", True)])
async def test_a_redis_whose_disk_takes_no_writes_says_so(
    monkeypatch: pytest.MonkeyPatch, told: str, *, fails: bool
) -> None:
    said = f"role:master\r\nconnected_slaves:2\r\nmaster_repl_offset:100\r\naof_last_write_status:{told}\r\n"
    async with scripted({"INFO": bulk(said)}) as port:
        monkeypatch.setattr(redis, "REDIS_PORT", port)
        found = await redis.ask_instance(a_pod(STACK, "redis", podIP=SPEAKS), "a password")
    assert found.disk_fails is fails


@pytest.mark.parametrize(
    ("quorum", "has_quorum"), [(b"+OK 3 usable Sentinels\r\n", True), (b"-NOQUORUM 1 usable Sentinels\r\n", False)]
)
async def test_what_a_sentinel_says_of_the_master(
    monkeypatch: pytest.MonkeyPatch, quorum: bytes, *, has_quorum: bool
) -> None:
    facts = {"ip": "10.0.0.1", "num-slaves": "2", "num-other-sentinels": "1", "flags": "master,s_down"}
    words = [word for pair in facts.items() for word in pair]
    master = f"%{len(facts)}\r\n".encode() + b"".join(map(bulk, words))
    async with scripted({"SENTINEL MASTER": master, "SENTINEL CKQUORUM": quorum}) as port:
        monkeypatch.setattr(redis, "SENTINEL_PORT", port)
        pod = a_pod(STACK, "redis-sentinel", podIP=SPEAKS)
        found = await redis.ask_sentinel(pod, "shop", {"10.0.0.1": "shop-redis-0"}, "a password")
    assert found.error == ""
    assert (found.master, found.has_quorum) == ("shop-redis-0", has_quorum)
    assert (found.replicas, found.other_sentinels, found.flags) == (2, 1, "master,s_down")


class Instance:
    """A master that notes its connections, and can end them all or go."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server
        self.is_mute = False

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while header := await reader.readline():
            words = [await reader.readline() for _ in range(2 * int(header[1:]))][1::2]
            hello = b"%1\r\n" + bulk("proto") + b":3\r\n"
            if not self.is_mute:
                writer.write(hello if words[0] == b"HELLO\r\n" else bulk("role:master\r\nmaster_repl_offset:1\r\n"))
        writer.close()

    async def end_connections(self) -> None:
        for writer in self.writers:
            writer.close()
        await asyncio.sleep(0.02)

    async def ask(self) -> RedisInstance:
        return await redis.ask_instance(a_pod(STACK, "redis", podIP=SPEAKS), "a password")


@pytest.fixture
async def instance(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Instance]:
    found = Instance()
    found.server = await asyncio.start_server(found.talk, SPEAKS, 0)
    monkeypatch.setattr(redis, "REDIS_PORT", found.server.sockets[0].getsockname()[1])
    async with redis.kept_redis_connections():
        yield found
    await found.end_connections()
    found.server.close()


async def test_one_connection_serves_for_many_questions(instance: Instance) -> None:
    assert [(await instance.ask()).role for _ in range(3)] == ["master"] * 3
    assert len(instance.writers) == 1


async def test_a_connection_that_was_closed_meanwhile_is_no_silence(instance: Instance) -> None:
    await instance.ask()
    await instance.end_connections()
    assert (await instance.ask()).role == "master"
    assert len(instance.writers) == 2


async def test_nobody_at_home_is_told_at_once_though_there_was_a_connection(instance: Instance) -> None:
    await instance.ask()
    instance.server.close()
    await instance.end_connections()
    answer = await instance.ask()
    assert answer.error
    assert not answer.is_late


async def test_a_connection_with_an_answer_to_come_is_not_used_again(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    await instance.ask()
    instance.is_mute = True
    with monkeypatch.context() as patched:
        patched.setattr(redis, "TIMEOUT_SECONDS", 0.1)
        assert (await instance.ask()).is_late
    instance.is_mute = False
    assert (await instance.ask()).role == "master"
    assert len(instance.writers) == 2


async def test_a_connection_that_nobody_uses_is_closed(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "KEEP_SECONDS", 0.05)
    await instance.ask()
    async with asyncio.timeout(60):
        while not instance.writers[0].is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        pytest.param(bulk("# Replication\r\n"), "its answer lacks 'role'", id="no role"),
        pytest.param(b":7\r\n", "expected string or bytes-like object", id="a number"),
        pytest.param(bulk("role:slave\r\nmaster_repl_offset:1\r\n"), "lacks 'slave_repl_offset'", id="half an answer"),
    ],
)
async def test_a_redis_that_answers_in_another_shape_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, said: bytes, error: str
) -> None:
    async with scripted({"INFO": said}) as port:
        monkeypatch.setattr(redis, "REDIS_PORT", port)
        found = await redis.ask_instance(a_pod(STACK, "redis", podIP=SPEAKS), "a password")
    assert error in found.error


@pytest.mark.parametrize("master", [b"*2\r\n+ip\r\n+10.0.0.1\r\n", b"%1\r\n+ip\r\n+10.0.0.1\r\n"])
async def test_a_sentinel_that_answers_in_another_shape_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, master: bytes
) -> None:
    """Each pass over the stack crashed."""
    async with scripted({"SENTINEL MASTER": master, "SENTINEL CKQUORUM": b"+OK 3 usable Sentinels\r\n"}) as port:
        monkeypatch.setattr(redis, "SENTINEL_PORT", port)
        found = await redis.ask_sentinel(a_pod(STACK, "redis-sentinel", podIP=SPEAKS), "shop", {}, "a password")
    assert found.error
    assert not found.is_late

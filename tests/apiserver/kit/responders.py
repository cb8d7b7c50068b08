"""Answers as the managed services would: Patroni's REST API, Sentinel and Redis, RabbitMQ's management API.

Every pod has a loopback address of its own and answers there for as long as it exists. All is well with every group;
its pod with the lowest name leads.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from aiohttp import web

from appstack_operator.services.postgres import PATRONI_PORT
from appstack_operator.services.rabbitmq import MANAGEMENT_PORT, USERNAME
from appstack_operator.services.redis import REDIS_PORT, SENTINEL_PORT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PORTS = {
    "postgres": PATRONI_PORT,
    "redis": REDIS_PORT,
    "redis-sentinel": SENTINEL_PORT,
    "rabbitmq": MANAGEMENT_PORT,
}
WAL_POSITION = 1000


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One pod of a data service."""

    namespace: str
    stack: str
    component: str
    pod: str


@dataclass(slots=True)
class Responders:
    """Who answers where; a cast keeps the members up to date."""

    members: dict[str, Member] = field(default_factory=dict)  # by address; settle and forget change it
    passwords: dict[tuple[str, str, str], str] = field(default_factory=dict)  # namespace, stack, service
    announced: dict[tuple[str, str], str] = field(default_factory=dict)  # namespace, Service -> its address
    # Queue -> messages that wait, in every stack; None while it has no leader.
    backlog: dict[str, int | None] = field(default_factory=dict)
    in_hand: dict[str, int] = field(default_factory=dict)  # queue -> messages that a worker has begun
    asked: int = 0  # how often somebody was told of the queues
    # namespace, pod -> facts that it tells instead of the healthy ones
    troubles: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    takes_passwords: bool = False  # of RabbitMQ's user; else a change of it is refused
    delay_seconds: float = 0.0  # before each answer
    # Namespace, stack, component -> its pods: with hundreds of stacks nobody goes through all members for an answer.
    _groups: defaultdict[tuple[str, str, str], set[Member]] = field(default_factory=lambda: defaultdict(set))
    _servers: dict[str, asyncio.Server] = field(default_factory=dict)
    _addresses: Iterator[str] = field(default_factory=lambda: addresses(random.randint(64, 120)))
    _runner: web.AppRunner | None = None

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[Responders]:
        """Answer for as long as the block runs."""
        app = web.Application()
        app.router.add_get("/patroni", self._patroni)
        app.router.add_get("/api/nodes", self._nodes)
        app.router.add_get("/api/nodes/{node}", self._nodes)
        app.router.add_get("/api/queues/{vhost}", self._queues)
        app.router.add_put("/api/users/{user}", self._user)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        try:
            yield self
        finally:
            for address in list(self.members):
                await self.leave(address)
            await self._runner.cleanup()

    async def join(self, member: Member) -> str:
        """A pod has started: its address, at which it answers from now on."""
        for address in self._addresses:
            try:
                self._servers[address] = await self._listen(address, PORTS[member.component])
            except OSError:  # somebody else's
                continue
            self.settle(address, member)
            return address
        raise AssertionError("endless")

    async def listen_everywhere(self) -> None:
        """Answer at every address of a network namespace; whoever calls knows the members."""
        for port in PORTS.values():
            self._servers[f"any:{port}"] = await self._listen("0.0.0.0", port)

    async def leave(self, address: str) -> None:
        """A pod is gone."""
        self.forget(address)
        server = self._servers.pop(address)
        server.close()

    def settle(self, address: str, member: Member) -> None:
        """A pod answers at an address."""
        self.forget(address)
        self.members[address] = member
        self._groups[member.namespace, member.stack, member.component].add(member)

    def forget(self, address: str) -> None:
        """Nobody answers there, if somebody did."""
        if member := self.members.pop(address, None):
            self._groups[member.namespace, member.stack, member.component].discard(member)

    async def _listen(self, address: str, port: int) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if port in (REDIS_PORT, SENTINEL_PORT):
            return await asyncio.start_server(self._talk, address, port)
        assert self._runner is not None
        assert self._runner.server is not None
        return await loop.create_server(self._runner.server, address, port)

    def trouble(self, member: Member) -> dict[str, Any]:
        """What is wrong with a pod's service; empty where all is well."""
        return self.troubles.get((member.namespace, member.pod), {})

    def group(self, member: Member, component: str = "") -> list[Member]:
        """The pods of a component of the same stack, by name."""
        return sorted(self._groups[member.namespace, member.stack, component or member.component])

    def knows(self, member: Member, service: str, password: str) -> bool:
        """Whether that is the password of a service of the member's stack."""
        return self.passwords.get((member.namespace, member.stack, service)) == password

    async def _asked(self, request: web.Request) -> Member:
        address = request.transport.get_extra_info("sockname")[0] if request.transport else ""
        await asyncio.sleep(self.delay_seconds)
        member = self.members.get(address)
        if member is None:  # gone while it was asked
            raise web.HTTPServiceUnavailable
        return member

    async def _patroni(self, request: web.Request) -> web.Response:
        member = await self._asked(request)
        if member == self.group(member)[0]:
            facts = {"role": "primary", "state": "running", "timeline": 1, "xlog": {"location": WAL_POSITION}}
            return web.json_response(facts | self.trouble(member))
        facts = {"role": "replica", "state": "running", "replication_state": "streaming", "timeline": 1}
        position = {"received_location": WAL_POSITION, "replayed_location": WAL_POSITION}
        is_sync = member == self.group(member)[1]
        told = {**facts, "sync_standby": is_sync, "xlog": position, **self.trouble(member)}
        return web.json_response(told, status=503)

    async def _nodes(self, request: web.Request) -> web.Response:
        member = await self._let_in(request)
        well = {"running": True, "partitions": [], "mem_alarm": False, "disk_free_alarm": False}
        nodes = {f"rabbit@{each.pod}": {**well, **self.trouble(each)} for each in self.group(member)}
        if (name := request.match_info.get("node")) is not None:
            return web.json_response(nodes[name])
        return web.json_response([{"name": name, "running": node["running"]} for name, node in nodes.items()])

    async def _queues(self, request: web.Request) -> web.Response:
        await self._let_in(request)
        queues = [
            {"name": name, "messages_ready": messages, "messages_unacknowledged": self.in_hand.get(name, 0)}
            if messages is not None
            else {"name": name}
            for name, messages in self.backlog.items()
        ]
        self.asked += 1
        return web.json_response(queues)

    async def _user(self, request: web.Request) -> web.Response:
        member = await self._let_in(request)
        if not self.takes_passwords:
            raise web.HTTPForbidden
        self.passwords[member.namespace, member.stack, "rabbitmq"] = (await request.json())["password"]
        return web.Response(status=204)

    async def _let_in(self, request: web.Request) -> Member:
        """Whom a user of the management API asks."""
        member = await self._asked(request)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(token).decode().partition(":")
        if scheme != "Basic" or user != USERNAME or not self.knows(member, "rabbitmq", password):
            raise web.HTTPUnauthorized
        return member

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A conversation in the Redis protocol."""
        address = writer.get_extra_info("sockname")[0]
        is_known = False
        try:
            while (member := self.members.get(address)) and (words := await read_command(reader)):
                await asyncio.sleep(self.delay_seconds)
                if words[0].upper() == "HELLO":  # HELLO 3 AUTH default PASSWORD
                    is_known = self.knows(member, "redis", words[-1])
                    greeting = b"%1\r\n" + bulk("proto") + b":3\r\n"
                    writer.write(greeting if is_known else b"-WRONGPASS invalid username-password pair\r\n")
                elif not is_known:
                    writer.write(b"-NOAUTH Authentication required.\r\n")
                else:
                    writer.write(self._reply(member, " ".join(words).upper()))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side has gone
        finally:
            writer.close()

    def _reply(self, member: Member, command: str) -> bytes:
        master = self.group(member, "redis")[0].pod if self.group(member, "redis") else ""
        replicas = max(len(self.group(member, "redis")) - 1, 0)
        if command.startswith("SENTINEL MASTER "):
            facts = {
                "name": f"{member.namespace}.{member.stack}",
                "ip": self.announced.get((member.namespace, master), master),
                "flags": "master",
                "num-slaves": replicas,
                "num-other-sentinels": len(self.group(member)) - 1,
            }
            return bulk_map(facts | self.trouble(member))
        if command.startswith("SENTINEL CKQUORUM "):
            if said := self.trouble(member).get("no-quorum"):
                return f"-NOQUORUM {said}\r\n".encode()
            return b"+OK 3 usable Sentinels. Quorum and failover authorization can be reached\r\n"
        if command.startswith("INFO"):
            facts = replication(is_master=member.pod == master, replicas=replicas) | self.trouble(member)
            return bulk("# Replication\r\n" + "".join(f"{key}:{value}\r\n" for key, value in facts.items()))
        return b"+OK\r\n" if command.startswith("CLIENT ") else b"-ERR unknown command\r\n"


def addresses(second: int) -> Iterator[str]:
    """Loopback addresses, each once."""
    return (f"127.{second}.{number // 250 % 250 + 1}.{number % 250 + 1}" for number in count(random.randint(0, 50_000)))


def replication(*, is_master: bool, replicas: int) -> dict[str, Any]:
    """INFO replication."""
    counts = {"connected_slaves": replicas} | ({"min_slaves_good_slaves": replicas} if replicas else {})
    facts: dict[str, Any] = {"role": "master", **counts, "master_repl_offset": WAL_POSITION}
    if not is_master:
        facts = {
            "role": "slave",
            "master_link_status": "up",
            "slave_repl_offset": WAL_POSITION,
            "connected_slaves": 0,
            "master_repl_offset": WAL_POSITION,
        }
    return facts


async def read_command(reader: asyncio.StreamReader) -> list[str]:
    """The words of one command; none at the end of the conversation."""
    head = await reader.readline()
    if not head:
        return []
    words = []
    for _ in range(int(head[1:])):
        size = int((await reader.readline())[1:])
        words.append((await reader.readexactly(size + 2))[:-2].decode())
    return words


def bulk(text: str) -> bytes:
    """A string in the Redis protocol."""
    content = text.encode()
    return b"$%d\r\n%s\r\n" % (len(content), content)


def bulk_map(facts: dict[str, Any]) -> bytes:
    """A map of strings in the Redis protocol, version 3."""
    return b"%%%d\r\n" % len(facts) + b"".join(bulk(str(part)) for pair in facts.items() for part in pair)

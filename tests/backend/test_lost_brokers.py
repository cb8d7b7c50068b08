"""All nodes of RabbitMQ die at once and one has lost its volume: the way out of docs/runbooks/QuorumLost.md."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest

from tests.backend.kit.processes import wait_until
from tests.backend.kit.rootfs import Box, free_port
from tests.backend.kit.servers import RABBITMQ_USER, RabbitMQ, answers, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 240
WAIT_SECONDS = 15  # where nothing is missing, nodes are up within 8
# Killed before, a node has not written down yet which queues it has a copy of, and starts with an empty one.
SETTLED_SECONDS = 5
NAMES = b"\x00\x01n"  # asks epmd which nodes it knows
QUEUE: dict[str, Any] = {"x-queue-type": "quorum", "x-quorum-initial-group-size": 3}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RabbitMQ]]:
    """Three that form one cluster."""
    port = free_port()
    box = Box("rabbitmq", RABBITMQ_USER, tmp_path / "names")
    names = box.start("epmd", "-port", str(port), "-address", "127.0.0.1")
    # Else the first node starts one of its own, which dies with it.
    wait_for(partial(answers, port, NAMES, port.to_bytes(4)), names, "epmd")
    first = RabbitMQ(tmp_path / "0", port)
    found = [first, *(RabbitMQ(tmp_path / str(number), port, first.name) for number in (1, 2))]
    try:
        for node in found:
            node.start()
        yield found
    finally:
        for node in found:
            node.kill()
        names.stop()


async def publish(node: RabbitMQ, text: bytes) -> None:
    async with await aio_pika.connect(node.url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue("kept", durable=True, arguments=QUEUE)
        await channel.default_exchange.publish(aio_pika.Message(text, delivery_mode=2), "kept", timeout=30)


def is_told_to_go_on(node: RabbitMQ) -> bool:
    try:
        node.control("force_boot")
    except RuntimeError:  # on a busy machine it has not come so far yet
        return False
    return True


def is_up_again(node: RabbitMQ) -> bool:
    """Whether it answers; one that has ended is begun anew, as Kubernetes does.

    A node that asks for the others while one of them is just starting may end (`node_not_running`, RabbitMQ 4.0).
    """
    if node.has_ended:
        node.kill()
        node.begin()
    return node.is_up()


async def take(node: RabbitMQ) -> bytes:
    async with await aio_pika.connect(node.url) as connection:
        queue = await (await connection.channel()).get_queue("kept")
        message = await queue.get(timeout=30)
        await message.ack()
        return message.body


async def test_two_nodes_that_wait_for_a_lost_volume_are_told_to_go_on_and_lose_no_message(
    nodes: list[RabbitMQ],
) -> None:
    first, second, lost = nodes
    await publish(first, b"confirmed")
    await asyncio.sleep(SETTLED_SECONDS)
    for node in nodes:
        node.kill()
    lost.lose_volume()
    for node in (first, second):
        node.begin()
    await asyncio.sleep(WAIT_SECONDS)
    assert not first.is_up()
    assert not second.is_up()

    wait_until(lambda: is_told_to_go_on(first), "the first node is told to go on", START_SECONDS)
    first.kill()
    first.start()
    wait_until(lambda: is_up_again(second), "the second node is up", START_SECONDS)
    assert await take(second) == b"confirmed"

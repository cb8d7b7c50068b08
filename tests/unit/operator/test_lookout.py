"""From silence to a mark: who is asked, what is written, and what is not."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from appstack_operator import lookout as module
from appstack_operator.assess.pods import NODE_SILENT
from appstack_operator.client import MAY_NOT_WRITE, ApiError
from appstack_operator.lookout import Lookout
from appstack_operator.rounds import Word
from tests.unit.operator.cluster import KEY, Cluster, rounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from appstack_operator.neighbours import Key
    from appstack_operator.objects import Object


async def test_the_pods_of_a_node_that_falls_silent_are_marked_once() -> None:
    cluster = Cluster("api", "redis-sentinel")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout, 2)
    cluster.cut = {"node-1"}
    await rounds(lookout)
    assert cluster.marks == [], "one silence is none"
    await rounds(lookout)
    assert cluster.marks == ["shop-api-1", "shop-redis-sentinel-1"]
    (event,) = cluster.events
    assert event["reason"] == NODE_SILENT
    assert event["note"] == ("node node-1 does not answer: shop-api-1, shop-redis-sentinel-1 are marked as not ready")
    await rounds(lookout)
    assert cluster.lists == 1, "what was just written needs no look"
    cluster.see()
    await rounds(lookout, 5)
    assert (len(cluster.marks), len(cluster.events), cluster.lists) == (2, 1, 1)


async def test_the_pods_of_a_node_are_asked_beside_the_question_that_decides() -> None:
    """Each silence takes a second, for which new connections are led to pods of a lost node."""
    cluster = Cluster("api", "redis-sentinel")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout, 2)
    cluster.cut = {"node-1"}
    await rounds(lookout)
    asked, silence_ends = [], asyncio.Event()

    async def ask(address: str, port: int) -> Word:
        asked.append(address)
        word = await cluster.ask(address, port)
        if word is Word.SILENCE:
            await silence_ends.wait()
        return word

    lookout._ask = ask
    look = asyncio.create_task(lookout.look())
    await asyncio.sleep(0.05)
    silent = {pod["status"]["podIP"] for pod in cluster.pods if pod["spec"]["nodeName"] == "node-1"}
    assert silent <= set(asked), "before anybody has been silent for long"
    silence_ends.set()
    await look
    assert lookout.due() == [KEY]
    before = len(asked)
    await lookout.take_out(KEY)
    assert len(asked) == before


async def test_a_pod_that_answers_keeps_its_node_from_being_lost_where_another_one_is_silent() -> None:
    cluster = Cluster("api", "redis-sentinel")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout, 2)
    dead = {pod["status"]["podIP"] for pod in cluster.pods if pod["metadata"]["name"] == "shop-api-1"}

    async def ask(address: str, port: int) -> Word:
        return Word.SILENCE if address in dead else await cluster.ask(address, port)

    lookout._ask = ask
    await rounds(lookout, 8)
    assert cluster.marks == []


async def test_while_all_answer_each_node_is_asked_once_and_the_api_server_never() -> None:
    cluster = Cluster("api", "redis-sentinel", "rabbitmq")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout, 6)
    assert len(cluster.asked) == 6 * 3
    assert set(cluster.asked) == {pod["status"]["podIP"] for pod in cluster.pods}, "each in its turn"
    assert cluster.lists == 0


async def test_with_pods_on_two_nodes_nobody_is_asked() -> None:
    cluster = Cluster("api", "redis-sentinel", nodes=2)
    await rounds(Lookout(cluster.operator, cluster.ask), 3)
    assert cluster.asked == []


async def test_a_node_of_which_another_pod_answers_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster("api", "redis-sentinel", "rabbitmq")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout)
    silent = {pod["status"]["podIP"] for pod in cluster.pods if pod["metadata"]["name"] != "shop-rabbitmq-1"}

    async def ask(address: str, port: int) -> Word:
        is_of_the_node = address.endswith(".1")
        return Word.SILENCE if is_of_the_node and address in silent else await cluster.ask(address, port)

    lookout._ask = ask
    with caplog.at_level(logging.INFO, logger=module.__name__):
        await rounds(lookout, 8)
    assert cluster.marks == []
    assert caplog.messages == []


async def test_an_operator_that_is_cut_off_marks_nothing_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster("api")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout, 2)
    cluster.cut = {"node-0", "node-1"}
    await rounds(lookout, 4)
    assert (cluster.marks, cluster.lists) == ([], 0)
    assert [each for each in caplog.messages if "cut off" in each] == [
        "most nodes do not answer: the operator itself seems to be cut off, and takes no pod out"
    ]


async def test_who_is_contradicted_by_kubelet_is_marked_ever_more_rarely_and_told_of_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    cluster = Cluster("api")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout)
    cluster.cut = {"node-1"}
    await rounds(lookout, 2)
    marked_at = [0]
    for now in range(1, 1000):
        cluster.set_ready("shop-api-1")
        await rounds(lookout)
        marked_at += [now] * (len(cluster.marks) - len(marked_at))
    assert [later - earlier for earlier, later in pairwise(marked_at)] == [11, 21, 41, 81, 161, 301, 301]
    assert cluster.lists == 2 * len(marked_at), "to mark, and to find the mark undone"
    assert len(cluster.events) == 1
    cluster.cut = set()
    await rounds(lookout)
    cluster.cut = {"node-1"}
    await rounds(lookout, 2)
    assert len(cluster.marks) == len(marked_at) + 1, "another loss, another kubelet perhaps"


async def test_while_one_node_rests_another_lost_one_does_not() -> None:
    cluster = Cluster("api", "redis-sentinel", nodes=5)
    cluster.pods[2]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    cluster.see()
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout)
    cluster.cut = {"node-1", "node-2"}
    await rounds(lookout, 2)
    marked = ["shop-api-1", "shop-redis-sentinel-1", "shop-redis-sentinel-2"]
    assert cluster.marks == marked
    for name in marked[:2]:
        cluster.set_ready(name)
    await rounds(lookout, 2)
    assert cluster.marks == marked
    cluster.set_ready("shop-api-2")
    await rounds(lookout, 2)
    assert cluster.marks == [*marked, "shop-api-2"]
    assert cluster.lists == 3


async def test_a_successor_takes_out_what_fell_silent_together_with_its_predecessor() -> None:
    cluster = Cluster("api")
    first = Lookout(cluster.operator, cluster.ask)
    await rounds(first)
    cluster.cut = {"node-1"}
    await rounds(Lookout(cluster.operator, cluster.ask), 3)
    assert cluster.marks == [], "it has never answered"
    await rounds(Lookout(cluster.operator, cluster.ask, heard=first.heard), 3)
    assert cluster.marks == ["shop-api-1"]


async def test_a_node_that_answers_again_is_left_to_kubelet() -> None:
    cluster = Cluster("api")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout)
    cluster.cut = {"node-1"}
    await rounds(lookout, 2)
    cluster.cut = set()
    await rounds(lookout)
    cluster.set_ready("shop-api-1")
    await rounds(lookout, 3)
    assert cluster.marks == ["shop-api-1"]
    cluster.cut = {"node-1"}
    await rounds(lookout, 2)
    assert cluster.marks == ["shop-api-1"] * 2
    assert len(cluster.events) == 2, "another loss is news"


async def test_a_pod_that_becomes_ready_on_a_lost_node_is_asked_too() -> None:
    cluster = Cluster("api", "redis-sentinel")
    cluster.pods[1]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    cluster.see()
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout)
    cluster.cut = {"node-1"}
    await rounds(lookout, 2)
    assert cluster.marks == ["shop-redis-sentinel-1"]
    cluster.set_ready("shop-api-1")
    await rounds(lookout)
    assert cluster.marks == ["shop-redis-sentinel-1", "shop-api-1"]


async def test_what_nobody_stands_in_for_costs_no_look() -> None:
    cluster = Cluster("api", "redis-sentinel", nodes=3)
    cluster.pods = [cluster.pods[1], *cluster.pods[3:]]  # the only pod of the API is on node-1
    cluster.pods[-2]["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    cluster.see()
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout)
    cluster.cut = {"node-1"}
    await rounds(lookout, 6)
    assert (cluster.marks, cluster.lists) == ([], 0)


async def test_a_stack_that_is_paused_or_cannot_be_read_is_left_alone() -> None:
    cluster = Cluster("api", left_alone=True)
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout)
    cluster.cut = {"node-1"}
    await rounds(lookout, 4)
    assert (cluster.marks, cluster.lists) == ([], 0)


async def test_a_refused_mark_is_tried_again_after_a_while_and_not_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster("api")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout)
    cluster.cut, cluster.refusal = {"node-1"}, ApiError(403, "Forbidden", "pods/status is forbidden")
    await rounds(lookout, 4)
    assert (cluster.marks, cluster.events, cluster.lists) == ([], [], 1)
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)
    cluster.refusal = None
    await rounds(lookout)
    assert cluster.marks == ["shop-api-1"]
    assert len(cluster.events) == 1


@asynccontextmanager
async def at_work(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lookout]:
    """A lookout that goes by itself, a hundred times as fast."""
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.01)
    lookout = Lookout(cluster.operator, cluster.ask)
    lookout.start()
    try:
        yield lookout
    finally:
        await lookout.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_by_itself_it_asks_and_marks_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster("api")
    async with at_work(cluster, monkeypatch):
        await until(lambda: len(cluster.asked) > 5)
        cluster.cut = {"node-1"}
        await until(lambda: cluster.events)
    assert cluster.marks == ["shop-api-1"]
    asked = len(cluster.asked)
    await asyncio.sleep(0.3)
    assert len(cluster.asked) == asked


async def test_neither_a_defect_nor_a_refusal_ends_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)
    cluster = Cluster("api")
    troubles: list[Exception] = [ApiError(0, "NoAnswer", "the API server does not answer"), ValueError("a defect")]
    troubles.append(ApiError(0, MAY_NOT_WRITE, "this process writes no more"))
    listed, asked = cluster.list, cluster.ask

    async def list_or_fail(*arguments: Any) -> list[Object]:
        if troubles:
            raise troubles.pop()
        return await listed(*arguments)

    async def ask_or_fail(address: str, port: int) -> Word:
        if not cluster.asked:
            cluster.asked.append(address)
            raise RuntimeError("a defect in a question")
        return await asked(address, port)

    monkeypatch.setattr(cluster, "list", list_or_fail)
    monkeypatch.setattr(cluster, "ask", ask_or_fail)
    async with at_work(cluster, monkeypatch) as lookout:
        due, defects = lookout.due, [ValueError("a defect")]

        def due_or_fail() -> list[Key]:
            if (task := asyncio.current_task()) and task.get_name() == "taking out" and defects:
                raise defects.pop()
            return due()

        monkeypatch.setattr(lookout, "due", due_or_fail)
        await until(lambda: len(cluster.asked) > 5)
        cluster.cut = {"node-1"}
        await until(lambda: cluster.marks)
    assert "a round of questions to the nodes crashed" in caplog.messages
    assert "taking pods out of their Services crashed" in caplog.messages
    assert "what is to be taken out of Services cannot be told" in caplog.messages


async def test_a_write_under_way_ends_before_it_stops_and_no_other_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, has_begun = Cluster("api", "redis-sentinel"), asyncio.Event()
    patch = cluster.patch

    async def patch_slowly(*arguments: Any) -> Object:
        has_begun.set()
        await asyncio.sleep(0.3)
        return await patch(*arguments)

    monkeypatch.setattr(cluster, "patch", patch_slowly)
    async with at_work(cluster, monkeypatch):
        await until(lambda: len(cluster.asked) > 5)
        cluster.cut = {"node-1"}
        await has_begun.wait()
    assert cluster.marks == ["shop-api-1"]


async def test_a_stack_that_is_deleted_as_its_pods_are_marked_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster("api")
    lookout = Lookout(cluster.operator, cluster.ask)
    await rounds(lookout)
    patch = cluster.patch

    async def patch_and_delete(*arguments: Any) -> Object:
        cluster.operator.forget(*KEY)
        return await patch(*arguments)

    monkeypatch.setattr(cluster, "patch", patch_and_delete)
    cluster.cut = {"node-1"}
    await rounds(lookout, 2)
    assert cluster.marks == ["shop-api-1"]
    assert cluster.operator.neighbours.one_on_each_node() == {}


async def test_a_successor_hears_only_of_nodes_that_have_pods_of_stacks() -> None:
    cluster = Cluster("api", nodes=4)
    lookout = Lookout(cluster.operator, cluster.ask, heard=["node-0", "gone-since-long"])
    assert lookout.heard == {"node-0"}
    await rounds(lookout)
    assert lookout.heard == {"node-0", "node-1", "node-2", "node-3"}
    cluster.pods.pop()
    cluster.see()
    assert lookout.heard == {"node-0", "node-1", "node-2"}


async def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster("api", marks_silent_pods=False)
    async with at_work(cluster, monkeypatch):
        await asyncio.sleep(0.1)
    assert cluster.asked == []

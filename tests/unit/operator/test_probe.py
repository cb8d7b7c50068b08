"""What the services say leads to a pass only if it leads to other conclusions."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp import web

from appstack_operator import observe, probe
from appstack_operator.assess.stack import Assessment, assess_stack
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.bridging import AnswerMemory
from appstack_operator.observe import observe_services
from appstack_operator.observed import Observed, PostgresAnswers, PostgresMember, RabbitmqAnswers
from appstack_operator.probe import Finding, Look, conclusions, look_at_backlog, look_at_services, rest
from appstack_operator.scaling import ScalingMemory
from appstack_operator.services import rabbitmq
from tests.unit.operator.factories import a_context, a_pod, a_stack, healthy_answers, observed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from appstack_operator.api import AppStack
    from appstack_operator.client import Api
    from appstack_operator.desired.context import Context, Credentials

LOOK_SECONDS = 0.02
PACE_SECONDS = 0.05  # where the pauses themselves are looked at
STACK = a_stack()
SEEN = observed(**healthy_answers(STACK))


def concluded(seen: Observed) -> object:
    return conclusions(seen, assess_stack(STACK, seen, a_context()))


def test_a_lost_primary_is_news() -> None:
    assert concluded(replace(SEEN, postgres=PostgresAnswers())) != concluded(SEEN)


def test_another_primary_is_news() -> None:
    first, second = SEEN.postgres.members
    swapped = (replace(first, role="sync_standby", is_sync=True), replace(second, role="primary", is_sync=False))
    assert concluded(replace(SEEN, postgres=PostgresAnswers(swapped))) != concluded(SEEN)


def test_a_little_lag_is_no_news() -> None:
    first, second = SEEN.postgres.members
    assert concluded(replace(SEEN, postgres=PostgresAnswers((first, replace(second, lag_bytes=4096))))) == concluded(
        SEEN
    )


def test_a_longer_queue_is_no_news_by_itself() -> None:
    assert concluded(replace(SEEN, rabbitmq=replace(SEEN.rabbitmq, backlog={"bulk": 5}))) == concluded(SEEN)


class Broker:
    """A management API with one queue, which remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.length = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path.startswith("/api/queues"):
            counts = {"messages_ready": self.length, "messages_unacknowledged": 0}
            return web.json_response([{"name": "bulk", **counts}])
        return web.json_response([])


@asynccontextmanager
async def a_broker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Broker]:
    broker, app = Broker(), web.Application()
    app.router.add_get("/{path:.*}", broker.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(rabbitmq, "MANAGEMENT_PORT", runner.addresses[0][1])
    yield broker
    await runner.cleanup()


def a_look(verdict: Verdict, **workers: int) -> Look:
    """What a pass found, with a broker that can be asked; `workers` are those of pools that scale."""
    pool = {"name": "bulk", "queues": ["bulk"], "autoscaling": {"minReplicas": 1, "maxReplicas": 5}}
    stack = a_stack(backend={"workers": [pool]})
    seen = observed(a_pod(stack, "rabbitmq", podIP="127.0.0.1"), **healthy_answers(stack))
    context = replace(a_context(), worker_replicas=workers)
    return Look.of(stack, seen, context, Assessment({"RabbitMQReady": verdict}, {}), AnswerMemory())


async def looks_between(look: Look, seconds: float = 2.0, every_seconds: float = LOOK_SECONDS) -> bool:
    """Whether looks every few milliseconds found something worth a pass; who waits for that has a limit for hangs."""
    begun = asyncio.get_running_loop().time()
    await rest(cast("Api", None), look, ScalingMemory(), seconds, every_seconds)
    return asyncio.get_running_loop().time() - begun < seconds


async def test_a_calm_stack_is_asked_for_its_queues_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_broker(monkeypatch) as broker:
        broker.length = 1
        assert not await looks_between(a_look(Verdict.true(Reason.HEALTHY), bulk=1))
        assert len(broker.asked) > 3
        assert {path.split("/")[2] for path in broker.asked} == {"queues"}


async def test_a_calm_stack_whose_workers_do_not_scale_is_not_asked_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_broker(monkeypatch) as broker:
        assert not await looks_between(a_look(Verdict.true(Reason.HEALTHY)))
        assert broker.asked == []


async def test_a_calm_stack_is_asked_everything_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "CALM_SECONDS", 0.1)
    async with a_broker(monkeypatch) as broker:
        assert await looks_between(a_look(Verdict.true(Reason.HEALTHY), bulk=1), 60)  # its answers are others
        assert any(path.startswith("/api/nodes") for path in broker.asked)


async def test_empty_queues_are_asked_with_everything_else_and_others_at_each_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "CALM_SECONDS", 10 * PACE_SECONDS)

    async def questions(length: int, after: Finding) -> int:
        """How many there were for the queues alone, in some 40 looks; `after`: what those at everything came to."""
        monkeypatch.setattr(probe, "look_at_services", lambda *_, **__: asyncio.sleep(0, result=after))
        async with a_broker(monkeypatch) as broker:
            broker.length = length
            assert not await looks_between(a_look(Verdict.true(Reason.HEALTHY), bulk=1), 2.0, PACE_SECONDS)
            return len(broker.asked)

    assert await questions(0, Finding.IDLE) == 1, "the first look after a pass"
    assert 1 < await questions(0, Finding.WAITING) < 6, "the first look after each at everything"
    assert await questions(1, Finding.WAITING) > 8


async def test_so_are_the_queues_of_an_external_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_broker(monkeypatch) as broker:
        broker.length = 1
        url = {"RABBITMQ_MANAGEMENT_URL": f"http://127.0.0.1:{rabbitmq.MANAGEMENT_PORT}"}
        look = a_look(Verdict.true(Reason.HEALTHY), bulk=1)
        external = {"rabbitmq": {"RABBITMQ_URL": "amqp://app:app@127.0.0.1/", **url}}
        outline = replace(look.outline, objects={}, external=external)
        look = replace(look, seen=replace(look.seen, external=external), outline=outline)
        assert not await looks_between(look)
        assert len(broker.asked) > 3
        broker.length = 1_000_000
        assert await look_at_backlog(look, ScalingMemory()) is Finding.NEWS


async def test_a_longer_queue_is_seen_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_broker(monkeypatch) as broker:
        broker.length = 1_000_000
        assert await looks_between(a_look(Verdict.true(Reason.HEALTHY), bulk=1), 60)


async def test_a_stack_that_is_not_well_is_asked_everything_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_broker(monkeypatch) as broker:
        assert await looks_between(a_look(Verdict.false(Reason.PARTITION_DETECTED, "one is gone"), bulk=1), 60)
        assert any(path.startswith("/api/nodes") for path in broker.asked)


class Judge:
    """Judges as ever, and counts how often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        monkeypatch.setattr(probe, "assess_stack", self.assess)

    def assess(self, stack: AppStack, seen: Observed, context: Context) -> Assessment:
        self.times += 1
        return assess_stack(stack, seen, context)


async def has_news(look: Look, *, is_judged: bool) -> bool:
    found = await look_at_services(look, ScalingMemory(), is_external_due=False, is_judged=is_judged)
    return found is Finding.NEWS


async def a_look_at_silence(verdict: Verdict | None = None) -> Look:
    """A pass that found nobody to ask, and judged so, or as told."""
    stack = a_stack(backend={"workers": []})
    seen = observed(a_pod(stack, "rabbitmq"))
    seen = await observe_services(stack, seen, a_context().credentials, AnswerMemory())
    found = assess_stack(stack, seen, a_context())
    told = replace(found, verdicts={**found.verdicts, "CronJobsReady": verdict}) if verdict else found
    return Look.of(stack, seen, a_context(), told, AnswerMemory())


async def test_the_same_answers_are_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    look, judge = await a_look_at_silence(), Judge(monkeypatch)
    assert not await has_news(look, is_judged=True)
    assert judge.times == 0


async def test_other_answers_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    look, judge = await a_look_at_silence(), Judge(monkeypatch)
    look = replace(look, seen=replace(look.seen, rabbitmq=RabbitmqAnswers(error="another one")))
    await has_news(look, is_judged=True)
    assert judge.times == 1


async def test_what_time_alone_changes_is_judged_when_it_is_due() -> None:
    look = await a_look_at_silence(Verdict.false(Reason.CRON_JOB_MISSED, "it was due"))
    assert not await has_news(look, is_judged=True)
    assert await has_news(look, is_judged=False)


@pytest.mark.parametrize(
    ("late_times", "is_news"), [pytest.param(1, False, id="once"), pytest.param(2, True, id="and once more")]
)
async def test_at_rest_an_answer_that_is_late_leads_to_no_pass(
    monkeypatch: pytest.MonkeyPatch, late_times: int, is_news: bool
) -> None:
    """Each led to one: services that are well are asked every 15 s, and no answer stood in that was older than 10 s."""
    first, *others = SEEN.postgres.members
    late = PostgresAnswers((PostgresMember(first.pod, error="no answer within 2 s", is_late=True), *others))
    asked = 0

    async def ask(stack: AppStack, seen: Observed, credentials: Credentials) -> Observed:
        nonlocal asked
        asked += 1
        well = replace(seen, postgres=SEEN.postgres, redis=SEEN.redis, rabbitmq=SEEN.rabbitmq)
        return replace(well, postgres=late) if asked <= late_times else well

    monkeypatch.setattr(observe, "ask_services", ask)
    judged = assess_stack(STACK, SEEN, a_context())
    memory = AnswerMemory()
    memory.bridged(SEEN, time.monotonic() - 15)
    context = replace(a_context(), worker_replicas={})
    assert await has_news(Look.of(STACK, SEEN, context, judged, memory), is_judged=True) is is_news
    assert asked == 2


async def test_a_calm_stack_is_judged_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "CALM_SECONDS", 0.0)
    monkeypatch.setattr(probe, "JUDGED_SECONDS", 1.0)
    monkeypatch.setattr(probe, "inputs_have_changed", lambda *_: asyncio.sleep(0, result=False))
    looks: list[tuple[float, bool]] = []

    async def note(*_: object, is_judged: bool, **__: object) -> Finding:
        looks.append((time.monotonic(), is_judged))
        return Finding.IDLE

    monkeypatch.setattr(probe, "look_at_services", note)
    assert not await looks_between(a_look(Verdict.true(Reason.HEALTHY)), 2.7)
    assert looks[0][1]
    judged_at = [moment for moment, is_judged in looks if not is_judged]
    assert judged_at
    assert all(later - earlier > 0.5 for earlier, later in pairwise(judged_at))
    looks.clear()
    assert not await looks_between(a_look(Verdict.false(Reason.PARTITION_DETECTED, "one is gone")), 0.2)
    assert looks
    assert not any(is_judged for _, is_judged in looks)

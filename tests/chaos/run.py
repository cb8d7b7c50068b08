"""One run of one scenario: a whole stack, a steady load, a fault, its mending, the recovery, and the verdict."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import psycopg
from redis.exceptions import RedisError

from appstack_lab.failures import LabError
from tests.chaos import faults, measure, placing
from tests.chaos.begun import Trace, write_whole
from tests.chaos.clients import api, rabbitmq, redis, sql
from tests.chaos.history import Action, Operation, Outcome, read_histories, to_line
from tests.chaos.load import ISOLATED, LAST, ROOT, STEADY, Load
from tests.chaos.measure import Marks
from tests.chaos.site import LEADS, Trouble, Unanswered, Victim, wait_until
from tests.chaos.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.chaos.clients.target import Target
    from tests.chaos.scenarios import Scenario
    from tests.chaos.site import Site

T = TypeVar("T")
TROUBLE = (Unanswered, sql.Unreached, psycopg.Error, RedisError, httpx.HTTPError, RuntimeError, *rabbitmq.TROUBLE)
WHOLE_SECONDS = 420  # hang limits
SERVED_SECONDS = 120
BASELINE_SECONDS = 4.0
SPEC_SECONDS = 10.0  # the operator's pass, and two of Patroni's loops that read it
CALM_SECONDS = 3.0  # so long it must stay whole to count as recovered
MORE = tuple(name for name in STEADY if name not in LAST)  # the one consumer takes what ten times as many publish


def execute(scenario: Scenario, site: Site, directory: Path) -> dict[str, Any]:
    """Run a scenario once; what it found is returned and kept as `result.json` in the directory.

    From the strike on a repeat counts, however it ends: what never came back is said, and fails its rows. Raises
    Trouble where it did not come to a strike. One that has no result for whatever reason leaves its trace.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    trace = Trace(directory, scenario.name, datetime.now(UTC), commit())
    try:
        result: dict[str, Any] = {**trace.about, **carry_out(scenario, site, directory, trace)}
        write_whole(directory / "result.json", json.dumps(result) + "\n")
    except BaseException as error:
        trace.note(why=in_a_line(error) if isinstance(error, Exception) else "interrupted")
        raise
    trace.end()
    time.sleep(scenario.rest_seconds)  # what was found is kept by now
    return result


def carry_out(scenario: Scenario, site: Site, directory: Path, trace: Trace) -> dict[str, Any]:
    """What came of it."""
    started = time.monotonic()
    wait_until(site.is_whole, "the stack is highly available and at rest", WHOLE_SECONDS, 1.0)
    note_before, images = patiently(site.release_note), patiently(site.images)
    trace.note(images=images)
    with ExitStack() as cleanup:
        cleanup.push(partial(mend_after_an_error, site))
        if scenario.spec:
            cleanup.callback(take_back, site)
            placing.change_spec(site, scenario.spec)
            time.sleep(SPEC_SECONDS)
            wait_until(site.is_whole, "the changed spec is followed", WHOLE_SECONDS, 1.0)
        target = patiently(lambda: site.target(is_pooled=scenario.is_pooled))
        target.save(directory / "target.json")
        cleanup.callback((directory / "target.json").unlink)
        history, final, watch, marks, victim, where, trouble = perform(
            scenario, site, target, directory, cleanup, trace
        )
    note = note_of(site)
    return {
        "victim": victim.pod,
        "node": victim.node,
        "where": where,
        "load_average": round(os.getloadavg()[1], 1),
        "mended_s": None if marks.mended is None else round(marks.mended - marks.told, 1),
        "ended_s": round(marks.ended - marks.told, 1),
        "roles": measure.role_changes(watch.changes, marks),
        "trouble": trouble,
        "early_failover": "" if note == note_before else note,
        "images": images,
        "took_s": round(time.monotonic() - started, 1),
        "rows": measure.rows_of(scenario, history, final, watch.changes, marks, trouble),
        "timelines": measure.timelines(history, marks),
    }


def mend_after_an_error(site: Site, kind: type[BaseException] | None, *_: object) -> None:
    """Known before the strike: one that fails halfway returns nothing that would mend it."""
    if kind is not None:
        mend_all(site)


def mend_all(site: Site) -> None:
    """Undo what is still in force; what cannot be undone is told and left to the next start of `make chaos`."""
    try:
        faults.mend_leftovers(site)
    except (Trouble, LabError) as error:
        print(f"   not everything could be mended: {in_a_line(error)}", flush=True)


def note_of(site: Site) -> str:
    """The last note of an early failover; a cluster that does not answer in the end costs no repeat."""
    try:
        return site.release_note()
    except Trouble:
        return ""


def commit() -> str:
    """Which tree this is; empty outside a repository."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def perform(
    scenario: Scenario, site: Site, target: Target, directory: Path, cleanup: ExitStack, trace: Trace
) -> tuple[Sequence[Operation], Sequence[Operation], Watch, Marks, Victim, dict[str, Any], str]:
    """The run itself; whatever happens, the load ends and the fault is mended."""
    prepare(target)
    if scenario.together:
        placing.bring_together(site)
    victim = victim_of(scenario, site)
    if scenario.apart:
        placing.bring_apart(site, victim.node)
    if scenario.is_of_node:
        placing.bring_api_to(site, victim.node)
        placing.bring_queues_to(site, victim.node)
    restore = prepare_operator(scenario, site, victim)
    cleanup.callback(restore)
    led_to_the_struck(target, scenario, site, victim).save(directory / "target.json")
    load = Load(site, directory)
    cleanup.callback(load.stop, load.running)
    bystander = next(node.name for node in site.cluster.nodes if node.name != victim.node)
    load.start(STEADY, bystander)
    for service in scenario.isolated:
        names = [name for name in ISOLATED if name.startswith(measure.PREFIX[service])]
        load.start(names, victim.node, inside(site, service, victim).address)
    load.wait_until_steady()
    check_victim(victim, scenario, site)
    where = patiently(lambda: site.places(victim))
    check_places(scenario, where)
    with Watch(site, target.amqp_url) as watch:
        time.sleep(BASELINE_SECONDS)
        trace.note(struck=True)
        marks, trouble = strike_and_mend(scenario, site, victim, load, watch, bystander, cleanup, restore)
    final: list[Operation] = []
    try:
        load.end(lambda: patiently(lambda: asyncio.run(rabbitmq.backlog(target.amqp_url))))
        final = read_in_the_end(target, read_histories(load.histories()))
    except (Trouble, *TROUBLE) as error:
        trouble = trouble or in_a_line(error)
    (directory / "final.txt").write_text("".join(to_line(operation) + "\n" for operation in final))
    return read_histories(load.histories()), final, watch, marks, victim, where, trouble


def victim_of(scenario: Scenario, site: Site) -> Victim:
    """Whom a scenario strikes. Raises Trouble."""
    return site.follower(scenario.service) if scenario.follower else site.leader(scenario.service)


def led_to_the_struck(target: Target, scenario: Scenario, site: Site, victim: Victim) -> Target:
    """The target whose held connections through Services lead to pods that are struck, where any of them is."""

    def address(service: str) -> str:
        pods = [Victim.of(pod) for pod in site.pods(service)]
        hit = (pod for pod in pods if pod.uid == victim.uid or (scenario.is_of_node and pod.node == victim.node))
        return next((pod.address for pod in hit), "")

    return replace(target, api_pod=address("api"), rabbitmq_pod=address("rabbitmq"))


def check_victim(victim: Victim, scenario: Scenario, site: Site) -> None:
    """Raise Trouble if somebody else would be struck by now: a load takes minutes to start, and leaders move."""
    if (now := victim_of(scenario, site)) != victim:
        raise Trouble(f"not {victim.pod} but {now.pod} would be struck since the load has started: run it again")


def check_places(scenario: Scenario, where: dict[str, Any]) -> None:
    """Raise Trouble if somebody is not where the row says: a Lease moves, too, and a pod may have been made anew."""
    if scenario.is_of_node and (where["rabbitmq"] != where["victim"] or where["victim"] not in where["api"]):
        raise Trouble(
            f"the queue is led on {where['rabbitmq']}, the API is on {' and '.join(where['api'])}: run it again"
        )
    is_on_it = where["operator"] == where["victim"]
    if (scenario.spares_operator and (is_on_it or not where["operator"])) or (
        scenario.operator == "on the lost node" and not is_on_it
    ):
        raise Trouble(f"the operator leads on {where['operator'] or 'no node'}: run it again")


def inside(site: Site, service: str, victim: Victim) -> Victim:
    """The pod of a service on the victim's node that a client inside writes to. Raises Trouble."""
    pods = [site.leader(service)] if service in LEADS else [Victim.of(pod) for pod in site.pods(service)]
    found = next((pod for pod in pods if pod.node == victim.node), None)
    if found is None:
        raise Trouble(f"no pod of {service} on {victim.node} that a client inside could write to")
    return found


def in_a_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def prepare(target: Target) -> None:
    """Empty what the clients write to: also the stack's whole catalogue and its imports."""
    patiently(lambda: api.prepare(target))  # first: the API knows what it has cached
    patiently(lambda: sql.forget_feeds(target.postgres))
    patiently(lambda: sql.prepare(target.postgres))
    patiently(lambda: redis.prepare(target.redis))
    patiently(lambda: asyncio.run(rabbitmq.prepare(target.amqp_url)))


FOREIGN = """
    SELECT count(*)::bigint, coalesce(min(sku), '') FROM products
    WHERE NOT starts_with(sku, %s) AND NOT starts_with(sku, %s) AND sku !~ %s"""
DEMO = "^DEMO-[0-9]{6}$"  # `make up` brings these again


def foreign_products(target: Target) -> tuple[int, str]:
    """How many products neither the harness nor the demo has brought, and the SKU of one: `prepare` removes all."""
    with closing(sql.Connection(target.postgres, target.postgres.host, sql.INSIDE_SECONDS)) as connection:
        count, sku = connection.run(FOREIGN, (api.SKU, "api-import", DEMO))[0]
    return int(count), str(sku)


def clean_up(target: Target) -> None:
    """Remove what the clients have written: products, feeds, lists and their table, keys, the queue."""
    patiently(lambda: api.prepare(target))
    patiently(lambda: sql.forget_feeds(target.postgres))
    patiently(lambda: drop_lists(target))
    patiently(lambda: redis.prepare(target.redis))
    patiently(lambda: asyncio.run(delete_queue(target.amqp_url)))


def drop_lists(target: Target) -> None:
    with closing(sql.Connection(target.postgres, target.postgres.host)) as connection:
        connection.run("DROP TABLE IF EXISTS chaos_lists", ())


async def delete_queue(url: str) -> None:
    connection, channel = await rabbitmq.connect(url)
    try:
        await channel.queue_delete(rabbitmq.QUEUE)
    finally:
        await rabbitmq.close(connection)


def patiently(work: Callable[[], T]) -> T:
    """Before and after a run only the answer counts, not the time: ask again where there was none."""
    deadline = time.monotonic() + SERVED_SECONDS
    while True:
        try:
            return work()
        except TROUBLE:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def take_back(site: Site) -> None:
    """The spec is as before. What comes of that is no part of the run: the next one waits until it is followed."""
    try:
        placing.restore_spec(site)
        time.sleep(SPEC_SECONDS)
    except Trouble as error:
        print(f"  the spec is not taken back, the next run will: {in_a_line(error)}", flush=True)


def prepare_operator(scenario: Scenario, site: Site, victim: Victim) -> Callable[[], None]:
    """Bring the operator to where the scenario wants it; the way back may be taken twice."""
    back: list[Callable[[], object]] = []
    if scenario.operator == "absent":
        back.append(placing.remove_operator(site))
    elif scenario.operator == "on the lost node":
        placing.bring_operator_to(site, victim.node)
        wait_until(site.is_whole, "the operator works where it leads now", WHOLE_SECONDS, 1.0)
    elif scenario.spares_operator:
        placing.bring_operator_off(site, victim.node)
        wait_until(site.is_whole, "the operator works elsewhere", WHOLE_SECONDS, 1.0)

    def restore() -> None:
        while back:
            back.pop()()

    return restore


def strike_and_mend(
    scenario: Scenario,
    site: Site,
    victim: Victim,
    load: Load,
    watch: Watch,
    bystander: str,
    cleanup: ExitStack,
    restore: Callable[[], None],
) -> tuple[Marks, str]:
    """The fault, for as long as it lasts, and the wait for the recovery; and what did not come back, in words."""
    told = time.monotonic()
    mend = scenario.strike(site, victim)
    struck = time.monotonic()
    if scenario.tenfold:
        load.start(MORE, bystander, copies=range(2, 11))
    mended, returned, trouble = None, None, ""
    try:
        if callable(mend):
            undo = Once(mend)
            cleanup.callback(undo)
            time.sleep(max(0.0, told + scenario.hold_seconds - time.monotonic()))
            undo()
            mended = time.monotonic()
        time.sleep(max(0.0, told + scenario.watch_seconds - time.monotonic()))
        if isinstance(mend, faults.Proof):
            wait_until(mend.holds, mend.what, WHOLE_SECONDS, 1.0)
        if scenario.operator == "absent":
            returned = time.monotonic()
        restore()
        wait_for_recovery(load, watch)
    except (Trouble, LabError) as error:
        trouble = in_a_line(error)
        mend_all(site)
    return Marks(told, struck, mended, time.monotonic(), returned), trouble


class Once:
    """Something to be done once, at the latest on the way out."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work

    def __call__(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work()


def wait_for_recovery(load: Load, watch: Watch) -> None:
    """Return when the stack has called itself highly available for a while and every outside client is served.

    Raises Trouble also where a client has ended by itself: what it would have met, nobody knows.
    """
    wait_until_calm(watch)
    now = time.monotonic()
    for name in load.running:
        if "-isolated" not in name and not name.startswith("api-import"):
            wait_until(lambda name=name: load.was_served_since(name, now), f"{name} is served", SERVED_SECONDS, 0.2)  # type: ignore[misc]
    wait_until_calm(watch)  # it may have called itself otherwise while clients were waited for
    if gone := load.gone():
        raise Trouble(f"ended by themselves: {', '.join(gone)}")


def wait_until_calm(watch: Watch) -> None:
    """Return when the stack has called itself highly available for a while, from now on."""
    since = [time.monotonic()]

    def is_calm() -> bool:
        if watch.now("HighlyAvailable") != "True" or watch.now("Reconciling") == "True":
            since[0] = time.monotonic()
        return time.monotonic() - since[0] > CALM_SECONDS

    wait_until(is_calm, "the stack is highly available again", WHOLE_SECONDS, 0.5)


def read_in_the_end(target: Target, history: Sequence[Operation]) -> list[Operation]:
    """What is there in the end, as reads of a client `final`."""
    found: list[Operation] = []

    def note(action: Action, key: str, value: int | list[int] | None) -> None:
        now = time.monotonic()
        found.append(Operation("final", action, key, value, now, now, Outcome.OK))

    rows = patiently(lambda: sql.read_all(target.postgres))
    keys = patiently(lambda: redis.read_all(target.redis))
    for key, items in {**rows, **keys}.items():
        note(Action.READ_LIST, key, items)
    # From the database: what only a cache does not show is stale, not lost.
    for sku in sorted({api.SKU, *(o.key for o in history if o.action is Action.WRITE)}):
        note(Action.READ, sku, patiently(lambda sku=sku: sql.register(target.postgres, sku)))  # type: ignore[misc]
    for key in sorted({o.key for o in history if o.action is Action.IMPORT and o.is_acknowledged}):
        note(Action.IMPORTED, key, patiently(lambda key=key: sql.count_products(target.postgres, f"{key}-")))  # type: ignore[misc]
    return found

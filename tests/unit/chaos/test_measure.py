"""From a history to a row: gaps, losses, what Redis may lose, what a person saw meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.history import Action, Operation, Outcome
from tests.chaos.load import STEADY
from tests.chaos.measure import CLIENTS, Marks, Row, rows_of, timelines, writers
from tests.chaos.page import page
from tests.chaos.scenarios import SCENARIOS, SERVICES
from tests.chaos.scorecard import NEWER_COUNTS, rows_of_runs
from tests.unit.chaos.made_runs import CHANGES, MARKS

CUT = Marks(told=100.0, struck=100.2, mended=145.0, ended=170.0)
SIGKILL = SCENARIOS["postgres-primary-sigkill"]
NODE_CUT = SCENARIOS["node-cut"]
READERS = ("sql-reader", "redis-reader", "api-held", "api-reconnecting", "api-retrying")
RECONNECTING = "CHAOS-REGISTER-reconnecting"


def steady(client: str, action: Action, key: str, outage: float = 0.0, until: float = 175.0) -> list[Operation]:
    """One operation each 0.2 s, except for an outage that begins at 100."""
    starts = [90 + n / 5 for n in range(int((until - 90) * 5))]
    return [
        Operation(client, action, key, number, start, start + 0.01, Outcome.OK)
        for number, start in enumerate(starts)
        if not 100 <= start < 100 + outage
    ]


def run(outages: dict[str, float] | None = None) -> list[Operation]:
    """A whole load, of which some clients have an outage."""
    plan = {
        **{name: (Action.APPEND, f"{name}/0") for name in ("sql-held", "sql-reconnecting")},
        **{name: (Action.APPEND, f"chaos/{name}/0") for name in ("redis-held", "redis-reconnecting")},
        **{name: (Action.PUBLISH, name) for name in ("rabbitmq-held", "rabbitmq-reconnecting")},
        **dict.fromkeys(READERS, (Action.PROBE, "any")),
        "api-writer": (Action.WRITE, "CHAOS-REGISTER"),
        "api-reconnecting-writer": (Action.WRITE, RECONNECTING),
    }
    history = [o for name, (what, key) in plan.items() for o in steady(name, what, key, (outages or {}).get(name, 0))]
    deliveries = [
        replace(o, client="rabbitmq-reader", action=Action.DELIVER) for o in history if o.action is Action.PUBLISH
    ]
    return [*history, *deliveries]


def final(history: list[Operation], without: set[tuple[str, int]] = frozenset()) -> list[Operation]:  # type: ignore[assignment]
    """What is there in the end, but for some elements."""
    lists: dict[str, list[int]] = {}
    for o in history:
        if o.action is Action.APPEND and isinstance(o.value, int) and (o.key, o.value) not in without:
            lists.setdefault(o.key, []).append(o.value)
    last = [Operation("final", Action.READ_LIST, key, items, 200, 200, Outcome.OK) for key, items in lists.items()]
    newest = {o.key: o.value for o in history if o.action is Action.WRITE}
    return [*last, *(Operation("final", Action.READ, key, end, 200, 200, Outcome.OK) for key, end in newest.items())]


def row(rows: list[Row], service: str, client: str = "held") -> Row:
    return next(each for each in rows if (each["service"], each["client"]) == (service, client))


def test_a_short_outage_of_one_client_is_its_rows_gap() -> None:
    history = run({"sql-held": 3.0})
    rows = rows_of(SIGKILL, history, final(history), [], MARKS)
    assert row(rows, "postgres")["write_gap_s"] == pytest.approx(3.2)
    assert row(rows, "postgres", "reconnecting")["write_gap_s"] == pytest.approx(0.2)
    assert all(each["passed"] for each in rows)


def test_an_outage_beyond_the_aim_fails_its_row_alone() -> None:
    history = run({"sql-held": 5.0})
    rows = rows_of(SIGKILL, history, final(history), [], MARKS)
    assert [(each["service"], each["client"]) for each in rows if not each["passed"]] == [("postgres", "held")]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("client", CLIENTS)
def test_of_each_service_one_client_writes_that_holds_its_connection_and_another_one_that_reconnects(
    service: str, client: str
) -> None:
    load = [Operation(name, Action.WRITE, "any", 1, 1, 2, Outcome.OK) for name in STEADY]
    assert len(writers(load, service, client)) == 1
    rows = rows_of(SIGKILL, run(), final(run()), [], MARKS)
    assert row(rows, service, client)["write_gap_s"] == pytest.approx(0.2)
    assert row(rows, service, client)["aim"]["write_gap_s"] == row(rows, service)["aim"]["write_gap_s"]


@pytest.mark.parametrize(("writer", "client"), [("api-writer", "held"), ("api-reconnecting-writer", "reconnecting")])
def test_a_writer_of_the_api_that_is_not_served_fails_the_row_of_its_kind_of_client_alone(
    writer: str, client: str
) -> None:
    history = run({writer: 5.0})
    rows = rows_of(SIGKILL, history, final(history), [], MARKS)
    assert [(each["service"], each["client"]) for each in rows if not each["passed"]] == [("api", client)]
    assert row(rows, "api", client)["write_gap_s"] == pytest.approx(5.2)


@pytest.mark.parametrize(("key", "client"), [("CHAOS-REGISTER", "held"), (RECONNECTING, "reconnecting")])
def test_a_write_over_the_api_that_is_lost_is_told_of_the_kind_of_client_that_wrote_it(key: str, client: str) -> None:
    history = run()
    end = [replace(o, value=3) if o.key == key else o for o in final(history)]
    rows = rows_of(SIGKILL, history, end, [], MARKS)
    assert [(each["service"], each["client"]) for each in rows if each["lost_acked"]] == [("api", client)]
    assert not row(rows, "api", client)["passed"]


@pytest.mark.parametrize(("reader", "service"), [("sql", "postgres"), ("redis", "redis"), ("rabbitmq", "rabbitmq")])
def test_readers_and_consumers_that_wait_for_21_seconds_fail_their_rows(reader: str, service: str) -> None:
    name = f"{reader}-reader"  # all of it comes, and long after
    history = [replace(o, start=121.0, end=121.01) if o.client == name and 100 <= o.start < 121 else o for o in run()]
    rows = rows_of(SIGKILL, history, final(history), [], MARKS)
    assert {each["service"] for each in rows if not each["passed"]} == {service}
    assert row(rows, service)["read_gap_s"] == pytest.approx(21.2, abs=0.1)


def test_one_lost_write_fails_a_row_whatever_its_gap() -> None:
    history = run()
    rows = rows_of(SIGKILL, history, final(history, {("sql-reconnecting/0", 7)}), [], MARKS)
    lost = row(rows, "postgres", "reconnecting")
    assert (lost["lost_acked"], lost["passed"]) == (1, False)
    assert row(rows, "postgres")["passed"]


@pytest.mark.parametrize(("at", "passed"), [(95.0, False), (98.0, False), (99.0, True), (102.0, True), (110.0, False)])
def test_redis_may_lose_only_what_was_acknowledged_within_its_lag_of_the_fault(at: float, passed: bool) -> None:
    history = run()
    victim = next(o.value for o in history if o.client == "redis-held" and o.start >= at)
    assert isinstance(victim, int)
    left = final(history, {("chaos/redis-held/0", victim)})
    rows = rows_of(SCENARIOS["redis-master-sigkill"], history, left, [], MARKS)
    assert (row(rows, "redis")["lost_acked"], row(rows, "redis")["passed"]) == (1, passed)


@pytest.mark.parametrize("name", ["redis-master-deleted", "node-drained", "upgrade-redis", "postgres-primary-sigkill"])
def test_redis_may_lose_nothing_where_its_master_does_not_fail(name: str) -> None:
    history = run()
    victim = next(o.value for o in history if o.client == "redis-held" and o.start >= 100)
    assert isinstance(victim, int)
    rows = rows_of(SCENARIOS[name], history, final(history, {("chaos/redis-held/0", victim)}), [], MARKS)
    assert not row(rows, "redis")["passed"]
    assert row(rows, "redis")["aim"]["lost_acked"] == 0


def test_a_repeat_that_ends_badly_is_a_row_that_failed() -> None:
    history = run()
    rows = rows_of(SIGKILL, history, final(history), CHANGES, MARKS, "not within 420 s: highly available again")
    assert {each["recovered_s"] for each in rows} == {None}
    assert not any(each["passed"] or each["promises_kept"] for each in rows)
    assert rows[0]["other_findings"] == ["not within 420 s: highly available again"]


def test_what_could_not_be_read_in_the_end_is_not_told_as_lost() -> None:
    rows = rows_of(SIGKILL, run(), [], [], MARKS, "nobody answers")
    assert {each["lost_acked"] for each in rows} == {0}
    assert not any(each["passed"] for each in rows)


def isolated(client: str, key: str, until: float) -> list[Operation]:
    ends = [Operation(client, Action.APPEND, key, n, 95 + n / 5, 95.01 + n / 5, Outcome.OK) for n in range(400)]
    return [o if o.end < until else replace(o, outcome=Outcome.UNKNOWN) for o in ends]


@pytest.mark.parametrize(("service", "until", "passed"), [
    ("sql", 100.1, True), ("sql", 101.5, False), ("redis", 103.5, True), ("redis", 106.0, False),
    ("rabbitmq", 100.1, True), ("rabbitmq", 101.5, False),
])  # fmt: skip
def test_the_cut_off_side_must_soon_acknowledge_nothing(service: str, until: float, passed: bool) -> None:
    key = {"sql": "sql-isolated/0", "redis": "chaos/redis-isolated/0", "rabbitmq": "rabbitmq-isolated"}[service]
    history = [*run(), *isolated(f"{service}-isolated", key, until)]
    rows = rows_of(SCENARIOS["node-cut-two"], history, final(history), [], CUT)
    found = row(rows, {"sql": "postgres"}.get(service, service))
    assert (found["passed"], found["promises_kept"]) == (passed, passed)
    assert found["isolated_ack_s"] == pytest.approx(max(0.0, until - 100.2), abs=0.25)


def test_a_cut_off_side_that_nobody_asked_does_not_pass() -> None:
    history = run()
    found = row(rows_of(SCENARIOS["node-cut-two"], history, final(history), [], CUT), "redis")
    assert (found["isolated_ack_s"], found["passed"], found["promises_kept"]) == (None, False, False)


def test_a_cut_off_side_that_acknowledged_in_one_repeat_fails_the_row_whatever_the_others_did() -> None:
    runs = []
    for number, until in enumerate((100.1, 104.0, 100.1)):
        history = [*run(), *isolated("sql-isolated", "sql-isolated/0", until)]
        rows = rows_of(NODE_CUT, history, final(history), [], CUT)
        runs.append({"scenario": "node-cut", "date": f"2026-11-2{number}", "load_average": 3.0, "rows": rows})
    whole, names = rows_of_runs(runs)
    found = row(whole, "postgres")
    assert (found["isolated_ack_s"], found["passed"]) == (0.0, False)
    assert "- node-cut, postgres, held: the cut-off side acknowledged for 3.6 s" in page(whole, names, "")


def test_asynchronous_replication_does_not_pass_for_synchronous() -> None:
    """What a cut-off primary acknowledged alone is gone after its rewind."""
    alone = isolated("sql-isolated", "sql-isolated/0", 110.0)
    gone = {("sql-isolated/0", o.value) for o in alone if o.end > 100 and isinstance(o.value, int)}
    history = [*run(), *alone]
    found = row(rows_of(NODE_CUT, history, final(history, gone), [], CUT), "postgres")
    assert found["lost_acked"] == sum(o.end > 100 and o.is_acknowledged for o in alone) > 0
    assert found["isolated_ack_s"] > 9
    assert not found["passed"]


def by(server: str, history: list[Operation], client: str, since: float = 0.0) -> list[Operation]:
    """The same history, in which this server answered a client."""
    return [replace(o, server=server) if o.client.startswith(client) and o.start >= since else o for o in history]


def test_a_redis_that_takes_over_may_lose_nothing_however_soon_after_the_fault() -> None:
    history = by("b/2", by("a/1", run(), "redis"), "redis", since=101)
    for at, passed in ((100.5, True), (102.0, False)):
        gone = next(o.value for o in history if o.client == "redis-held" and o.start >= at)
        assert isinstance(gone, int)
        left = final(history, {("chaos/redis-held/0", gone)})
        found = row(rows_of(SCENARIOS["redis-master-sigkill"], history, left, [], MARKS), "redis")
        assert (found["lost_acked"], found["passed"]) == (1, passed)
        assert found["masters"]["lost_unexplained"] == int(not passed)


def test_two_masters_that_take_writes_fail_the_rows_in_which_none_may() -> None:
    apart = by("b/2", by("a/1", run(), "redis"), "redis-reconnecting", since=101)
    history = [o for o in apart if o.client != "redis-held" or o.start < 103]
    for name, passed in (("redis-master-frozen", True), ("redis-master-deleted", False), ("upgrade-redis", False)):
        rows = rows_of(SCENARIOS[name], history, final(history), [], replace(MARKS, ended=103.0))
        assert row(rows, "redis")["promises_kept"] is passed, name
        assert (row(rows, "redis")["other_findings"] == []) is passed
        assert row(rows, "redis")["masters"]["two_writers_s"] == pytest.approx(1.8, abs=0.11)
        assert row(rows, "redis", "reconnecting")["masters"] is None, "told once, of both kinds of client"


def test_a_reader_beside_a_cut_off_primary_may_be_shown_old_rows_only_until_that_demotes_itself() -> None:
    history = [*run(), *isolated("sql-isolated", "sql-isolated/0", 100.1)]
    known = [o.value for o in history if o.client == "sql-held" and o.end < 100 and isinstance(o.value, int)]
    for last, passed in ((107.0, True), (109.0, False)):
        old = [
            Operation("sql-isolated-reader", Action.READ_LIST, "sql-held/0", known[: int(5 * (at - 90))], at, at + 0.01,
                      Outcome.OK)
            for at in (95.0, 101.0, last)
        ]  # fmt: skip
        found = row(rows_of(NODE_CUT, [*history, *old], final(history), [], CUT), "postgres")
        assert found["isolated_stale_s"] == pytest.approx(last - 100.2)
        assert found["passed"] is passed
        assert found["other_findings"] == ([] if passed else ["the cut-off side showed old rows for 8.8 s"])


def test_a_stale_read_fails_a_row_and_is_named() -> None:
    history = run()
    stale = Operation("sql-reader", Action.READ_LIST, "sql-held/0", [0], 120.0, 120.1, Outcome.OK)
    found = row(rows_of(SIGKILL, [*history, stale], final(history), [], MARKS), "postgres")
    assert not found["passed"]
    assert found["other_findings"][0].startswith("stale sql-held/0 1 ")


def test_a_service_that_nobody_used_before_the_fault_does_not_pass() -> None:
    history = [o for o in run() if o.client != "redis-held"]
    assert not row(rows_of(SIGKILL, history, final(history), [], MARKS), "redis")["passed"]


def test_users_requests_that_failed_or_were_slow_are_counted() -> None:
    extra: list[Operation] = [
        Operation("api-held", Action.PROBE, "any", None, 101.0, 103.0, Outcome.OK),
        Operation("api-writer", Action.WRITE, "CHAOS-REGISTER", 10**6, 101.0, 101.1, Outcome.UNKNOWN),
    ]
    history = [*run(), *extra]
    found = row(rows_of(SIGKILL, history, final(run()), [], MARKS), "api")
    assert (found["failed_requests"], found["slow_requests"]) == (1, 1)


@pytest.mark.parametrize(
    ("reader", "client", "figure"),
    [
        ("api-held", "held", "failed_reads"),
        ("api-reconnecting", "reconnecting", "failed_reads"),
        ("api-retrying", "reconnecting", "retrying_failed_reads"),
    ],
)
@pytest.mark.parametrize(("name", "allowed"), [
    ("postgres-primary-sigkill", False), ("node-cut", False), ("node-drained", False), ("nodes-drained", False),
    ("upgrade-redis", False), ("node-cut-two", True), ("node-cut-two-no-operator", True), ("node-crashed-two", True),
])  # fmt: skip
def test_one_read_of_a_user_that_failed_fails_the_row_of_a_single_fault(
    name: str, allowed: bool, reader: str, client: str, figure: str
) -> None:
    bad = Operation(reader, Action.READ, "CHAOS-REGISTER", None, 101.0, 101.1, Outcome.FAILED)
    rows = rows_of(SCENARIOS[name], [*run(), bad], final(run()), [], MARKS)
    counts = {(each["client"], key): each.get(key) for each in rows if each["service"] == "api" for key in NEWER_COUNTS}
    assert {place for place, count in counts.items() if count} == {(client, figure)}
    failed = {each["client"] for each in rows if each["service"] == "api" and not each["passed"]}
    assert failed == (set() if allowed else {client})
    assert row(rows, "postgres")["failed_reads"] is None


def test_a_reader_that_tries_again_has_a_gap_of_its_own() -> None:
    rows = rows_of(SIGKILL, run({"api-retrying": 3.0}), final(run()), [], MARKS)
    found = row(rows, "api", "reconnecting")
    assert (found["retrying_read_gap_s"], found["read_gap_s"]) == (pytest.approx(3.2), pytest.approx(0.2))
    assert (found["retrying_failed_reads"], found["passed"]) == (0, True)


def test_a_write_of_a_user_that_failed_is_no_failed_read() -> None:
    bad = Operation("api-writer", Action.WRITE, "CHAOS-REGISTER", 10**6, 101.0, 101.1, Outcome.UNKNOWN)
    feed = Operation("api-import", Action.IMPORT, "api-import-1", 2000, 101.0, 101.1, Outcome.UNKNOWN)
    found = row(rows_of(SIGKILL, [*run(), bad, feed], final(run()), [], MARKS), "api")
    assert (found["failed_requests"], found["failed_reads"], found["passed"]) == (2, 0, True)


def test_timelines_have_a_lane_for_each_service() -> None:
    lanes = timelines(run({"sql-held": 3.0, "sql-reconnecting": 3.0, "sql-reader": 3.0}), MARKS)
    assert list(lanes) == ["postgres", "redis", "rabbitmq", "api"]
    quiet = [at for at, good, _ in lanes["postgres"] if not good]
    assert (min(quiet), max(quiet)) == (0.25, 2.75)

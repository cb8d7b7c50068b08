"""The pooler in front of PostgreSQL."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest

from appstack_operator.desired.context import Parameters
from appstack_operator.desired.environment import connection_variables
from appstack_operator.desired.migrations import build_migrations
from appstack_operator.desired.pooler import build_configuration, build_pooler
from tests.unit.operator.factories import a_context, a_stack

AGENT = Path(__file__).parents[4] / "images" / "postgres" / "agent" / "pooler.py"


def pooled(**pooler: Any) -> dict[str, Any]:
    return {"postgres": {"pooler": {"enabled": True, **pooler}}}


def configuration(**pooler: Any) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(build_configuration(a_stack(**pooled(**pooler)), a_context()))
    return parser


def built(kind: str, **pooler: Any) -> dict[str, Any]:
    return next(obj for obj in build_pooler(a_stack(**pooled(**pooler)), a_context()) if obj["kind"] == kind)


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert build_pooler(a_stack(), a_context()) == []


def test_a_connection_to_a_server_that_is_no_primary_ends_itself() -> None:
    # The bug of others: a pooler that stays with the demoted primary. An error would be ignored by PgBouncer.
    parser = configuration()
    queries = parser["databases"]["app"].split("connect_query=")[1], parser["pgbouncer"]["server_check_query"]
    assert all("pg_terminate_backend(pg_backend_pid()) where pg_is_in_recovery()" in query for query in queries)


def test_clients_wait_through_a_failover_instead_of_being_refused() -> None:
    assert int(configuration()["pgbouncer"]["query_wait_timeout"]) >= 25


@pytest.mark.parametrize("replicas", [1, 2, 10])
def test_all_poolers_together_leave_the_primary_connections(replicas: int) -> None:
    assert int(configuration(replicas=replicas)["pgbouncer"]["default_pool_size"]) * replicas <= 150


@pytest.mark.parametrize("replicas", [1, 2, 10])
@pytest.mark.parametrize(("connections", "most"), [(25, 15), (50, 30), (200, 120), (1000, 120), (10**400, 120)])
def test_the_poolers_share_follows_a_lower_max_connections(replicas: int, connections: int, most: int) -> None:
    """A pooler that opens more than PostgreSQL takes is refused, and tells its clients so."""
    spec = pooled(replicas=replicas)
    spec["postgres"]["parameters"] = {"max_connections": "7"}
    taken = a_context(parameters=Parameters(in_force={"max_connections": str(connections)}))
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(build_configuration(a_stack(**spec), taken))
    size = int(parser["pgbouncer"]["default_pool_size"])
    assert (size, size * replicas <= most) == (most // replicas, True)
    assert size > 0


def test_the_mode_is_what_the_spec_says() -> None:
    assert configuration(poolMode="session")["pgbouncer"]["pool_mode"] == "session"


def test_one_is_taken_at_a_time_and_a_new_one_is_ready_before() -> None:
    assert built("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    strategy = built("Deployment", replicas=3)["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_backend_goes_through_it_and_migrations_do_not() -> None:
    context = a_context()
    assert "shop-postgres-pooler." in connection_variables(a_stack(**pooled()), context)["DATABASE_URL"]
    assert "shop-postgres-ro." in connection_variables(a_stack(**pooled()), context)["DATABASE_READONLY_URL"]
    (job,) = build_migrations(a_stack(**pooled()), context)
    environment = job["spec"]["template"]["spec"]["containers"][0]["env"]
    (url,) = (each for each in environment if each["name"] == "DATABASE_URL")
    assert url["valueFrom"]["secretKeyRef"]["name"] == "shop-postgres-app"


def test_a_new_password_restarts_the_poolers() -> None:
    before = built("Deployment")
    stack, other = a_stack(**pooled()), a_context()
    changed = a_context(
        credentials=type(other.credentials)(**dict.fromkeys(other.credentials.__dataclass_fields__, "new"))
    )
    after = next(obj for obj in build_pooler(stack, changed) if obj["kind"] == "Deployment")
    assert before["spec"]["template"]["metadata"] != after["spec"]["template"]["metadata"]


def test_no_password_stands_in_its_configuration() -> None:
    assert "app-password" not in str(build_pooler(a_stack(**pooled()), a_context()))
    assert "postgres_app-password" not in str(build_pooler(a_stack(**pooled()), a_context()))


def test_it_is_probed_where_the_process_beside_pgbouncer_says_whether_that_answers() -> None:
    """A connection alone is taken by the kernel also for one that is frozen."""
    (container,) = built("Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    asked = {ports[container[probe]["httpGet"]["port"]] for probe in ("readinessProbe", "livenessProbe")}
    assert asked == {int(re.search(r"^PROBES_PORT = (\d+)$", AGENT.read_text(), re.MULTILINE)[1])}  # type: ignore[index]
    assert ports["postgres"] not in asked

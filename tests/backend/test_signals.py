"""What a process tells of itself: ids that lead from a request to a row's chunk, and the figures of each route."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.backend.kit import feeds
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    from tests.backend.kit.processes import Backend

TOLD = Counter({"chunk applied": 3, "notification": 1})


def test_log_lines_lead_from_the_request_to_each_chunk(backend: Backend) -> None:
    backend.start_api()
    worker = backend.start_worker()
    api = backend.client()
    job = api.feed(feeds.as_csv(feeds.rows(1_200, seed=36)), X_Request_Id="from-a-user")
    wait_until(lambda: Counter(line["event"] for line in worker.lines()) >= TOLD, "all of it is told")
    lines = [line for line in worker.lines() if line.get("request_id") == "from-a-user"]
    chunks = [line for line in lines if line["event"] == "chunk applied"]
    assert sorted((line["job_id"], line["chunk"], line["rows"]) for line in chunks) == [
        (job["id"], 0, 500),
        (job["id"], 1, 500),
        (job["id"], 2, 200),
    ]
    assert {line["message_id"] for line in chunks} == {f"import.chunk/{job['id']}/{n}" for n in range(3)}
    assert all(line.keys() >= {"timestamp", "level", "component", "pod", "trace_id", "span_id"} for line in lines)


def test_metrics_tell_of_requests_messages_pools_the_cache_and_rows(backend: Backend) -> None:
    process, worker = backend.start_api(), backend.start_worker()
    api = backend.client()
    api.feed((feeds.HEADER + "A,n,c,s,1,EUR,1,\nB,n,c,s,no price,EUR,1,\n").encode())
    hits, misses = (f'appstack_cache_total{{result="{result}"}}' for result in ("hit", "miss"))
    # On a busy machine the first answers of Redis may come too late, and are misses, too.
    wait_until(
        lambda: api.http.get("/v1/products/B").status_code == 404 and process.metrics()[hits] > 0, "Redis is met"
    )
    before, route = process.metrics(), "/v1/products/{sku:path}"
    for sku in ("A", "A", "NONE"):
        api.http.get(f"/v1/products/{sku}")
    counted = f'appstack_http_request_seconds_count{{method="GET",route="{route}"}}'
    # A request is counted once its answer has left.
    wait_until(
        lambda: (
            (now := process.metrics())[counted] - before.get(counted, 0) >= 3
            and now["appstack_http_requests_in_flight"] == 0
        ),
        "all three are counted",
    )
    told = process.metrics()
    gained = {name: value - before.get(name, 0) for name, value in told.items()}
    assert gained[f'appstack_http_requests_total{{method="GET",route="{route}",status="200"}}'] == 2
    assert gained[f'appstack_http_requests_total{{method="GET",route="{route}",status="404"}}'] == 1
    assert gained[counted] == 3
    assert told["appstack_http_requests_in_flight"] == 0
    assert gained['appstack_errors_total{code="NOT_FOUND"}'] == 1
    assert (gained[hits], gained[misses]) == (1, 2)
    assert told['appstack_import_rows_total{outcome="received"}'] == 2
    assert told['appstack_import_rows_total{outcome="rejected"}'] == 1
    assert told["appstack_redis_breaker_open"] == 0
    pool = 'appstack_database_pool{pool="primary",what="pool_size"}'
    wait_until(lambda: process.metrics().get(pool, 0) >= 1, "the pool's figures are copied")
    in_hand = 'appstack_messages_in_hand{queue="bulk"}'
    wait_until(lambda: worker.metrics()[in_hand] == 0, "the message is answered")
    told = worker.metrics()
    assert told['appstack_import_rows_total{outcome="imported"}'] == 1
    assert told['appstack_messages_total{outcome="done",queue="bulk"}'] == 1
    assert told['appstack_message_seconds_count{kind="import.chunk",queue="bulk"}'] == 1


def test_a_metric_tells_how_long_messages_wait_for_the_broker(backend: Backend) -> None:
    process = backend.start_api(RABBITMQ_URL="amqp://app:x@127.0.0.1:9/%2F")
    assert process.metrics()["appstack_outbox_age_seconds"] == 0
    assert backend.client().http.put("/v1/products/A", json={"name": "n", "price": "1", "currency": "EUR"}).is_success
    wait_until(lambda: process.metrics()["appstack_outbox_age_seconds"] > 0, "its event waits")

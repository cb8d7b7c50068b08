"""Metrics: every series of the process, and the server of port 9000 that shows them."""

from prometheus_client import Counter, Gauge, Histogram, start_http_server

REQUESTS = Counter("appstack_http_requests_total", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "appstack_http_request_seconds",
    "Time to answer a request, its body included.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
REQUESTS_IN_FLIGHT = Gauge("appstack_http_requests_in_flight", "Requests being answered now.")
ERRORS = Counter("appstack_errors_total", "Failures by their code.", ["code"])

MESSAGES = Counter("appstack_messages_total", "Messages by what became of them.", ["queue", "outcome"])
MESSAGES_IN_HAND = Gauge("appstack_messages_in_hand", "Messages delivered and not yet acknowledged.", ["queue"])
REDELIVERED = Counter(
    "appstack_messages_redelivered_total", "Messages that came again after a lost or failed delivery.", ["queue"]
)
MESSAGE_SECONDS = Histogram(
    "appstack_message_seconds",
    "Time to work on a message.",
    ["queue", "kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
CONSUMER_RESTARTS = Counter("appstack_consumer_restarts_total", "Consumers started anew.", ["queue", "reason"])

WEBHOOKS = Counter("appstack_webhooks_total", "Attempts to deliver webhooks by what became of them.", ["outcome"])
IMPORT_ROWS = Counter("appstack_import_rows_total", "Rows of imports by what became of them.", ["outcome"])
OUTBOX_PUBLISHED = Counter("appstack_outbox_published_total", "Messages published from the outbox.", ["queue"])
OUTBOX_AGE = Gauge("appstack_outbox_age_seconds", "How long the oldest message of the outbox waits; 0: none does.")
OUTBOX_FAILURES = Counter("appstack_outbox_failures_total", "Passes of the outbox relay that failed.")

DATABASE_RETRIES = Counter("appstack_database_retries_total", "Work repeated after a database failure.", ["pool"])
DATABASE_POOL = Gauge("appstack_database_pool", "Connections and waiting requests.", ["pool", "what"])
REDIS_BREAKER = Gauge("appstack_redis_breaker_open", "1 while Redis is left alone after trouble.")
READS = Counter("appstack_reads_total", "Reads that a replica may serve, by who served them.", ["server"])
EXPORTS_READ = Counter("appstack_exports_read_total", "Exports by the server they were read from.", ["server"])
CACHE = Counter("appstack_cache_total", "Reads of the cache by their result.", ["result"])


def serve_metrics(host: str, port: int) -> None:
    """Answer /metrics from a thread of its own, so that a busy loop never hides the figures."""
    start_http_server(port, addr=host)

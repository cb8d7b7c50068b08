"""What Prometheus sees of the operator itself."""

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram, start_http_server

PASSES = Counter("appstack_passes", "Passes by result.", ["result"])
PASS_SECONDS = Histogram("appstack_pass_seconds", "Duration of a pass.")
ACTIONS = Counter("appstack_actions", "Writes of plans by verb, impact and result.", ["verb", "impact", "result"])
REQUESTS = Counter("appstack_api_requests", "Requests to the API server by verb and kind.", ["verb", "kind"])
IS_LEADER = Gauge("appstack_is_leader", "1 if this process holds the operator's Lease and may write, else 0.")
STACKS = Gauge("appstack_stacks", "AppStacks that this process looks after.")
CHILD_EVENTS = Counter(
    "appstack_child_events", "Events of watches about children: news, later, or ignored.", ["result"]
)
QUEUE_DEPTH = Gauge("appstack_queue_depth", "Stacks that wait for their turn of a pass.")
WATCH_RESTARTS = Counter(
    "appstack_watch_restarts", "How often all watches began anew, after one broke off in an unusual way."
)
CONDITIONS = Gauge(
    "appstack_condition",
    "1 if the condition of the stack is True, 0 if False, -1 if Unknown.",
    ["namespace", "stack", "condition"],
)
shown: dict[tuple[str, str], set[str]] = {}
VALUES = {"True": 1, "False": 0, "Unknown": -1}


def show_conditions(namespace: str, stack: str, statuses: Mapping[str, str]) -> None:
    """Publish the conditions of a stack (type -> status), and no longer those that it has no more."""
    for gone in shown.pop((namespace, stack), set()) - statuses.keys():
        CONDITIONS.remove(namespace, stack, gone)
    for condition, status in statuses.items():
        CONDITIONS.labels(namespace, stack, condition).set(VALUES[status])
    if statuses:
        shown[namespace, stack] = set(statuses)


def serve(port: int) -> None:
    """Answer on /metrics, in a thread of its own."""
    start_http_server(port)

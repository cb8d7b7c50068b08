"""What Prometheus sees of the operator itself."""

from prometheus_client import Counter, Gauge, Histogram, start_http_server

PASSES = Counter("appstack_passes", "Passes by result.", ["result"])
PASS_SECONDS = Histogram("appstack_pass_seconds", "Duration of a pass.")
ACTIONS = Counter("appstack_actions", "Writes of plans by verb and impact.", ["verb", "impact"])
REQUESTS = Counter("appstack_api_requests", "Requests to the API server by verb and kind.", ["verb", "kind"])
CONDITIONS = Gauge(
    "appstack_condition",
    "1 if the condition of the stack is True, 0 if False, -1 if Unknown.",
    ["namespace", "stack", "condition"],
)
VALUES = {"True": 1, "False": 0, "Unknown": -1}


def show_condition(namespace: str, stack: str, condition: str, status: str) -> None:
    """Publish one condition."""
    CONDITIONS.labels(namespace, stack, condition).set(VALUES[status])


def forget_stack(namespace: str, stack: str, conditions: list[str]) -> None:
    """Stop publishing a stack that is gone."""
    for condition in conditions:
        CONDITIONS.remove(namespace, stack, condition)


def serve(port: int) -> None:
    """Answer on /metrics, in a thread of its own."""
    start_http_server(port)

"""One trace from the request to the worker: in the logs, and exported where somebody asks for it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.backend.kit import feeds
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.backend.kit.processes import Backend

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
Span = tuple[str, str]  # the service and the span's name


def test_a_trace_reaches_the_workers_and_what_follows(backend: Backend) -> None:
    api_process = backend.start_api()
    worker = backend.start_worker()
    api = backend.client()
    api.feed(feeds.as_csv(feeds.rows(10, seed=91)), Traceparent=PARENT, X_Request_Id="traced")
    wait_until(lambda: "notification" in {line["event"] for line in worker.lines()}, "the event arrives")
    for process, events in ((api_process, {"request"}), (worker, {"chunk applied", "notification"})):
        traced = [line for line in process.lines() if line.get("trace_id") == TRACE]
        assert events <= {line["event"] for line in traced}
        assert all(line["request_id"] == "traced" for line in traced)
        assert len({line["span_id"] for line in traced}) >= 1
    broken = api.http.get("/nowhere", headers={"Traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"})
    (line,) = [one for one in api_process.lines() if one.get("request_id") == broken.json()["request_id"]][-1:]
    assert line["trace_id"] not in (TRACE, "0" * 32)


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP collector: its address and what it was sent."""
    got: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


def test_spans_are_exported_with_their_parents(
    backend: Backend, collector: tuple[str, list[ExportTraceServiceRequest]]
) -> None:
    address, got = collector
    export = {"OTEL_EXPORTER_OTLP_ENDPOINT": address, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    backend.start_api(**export)
    backend.start_worker(**export)
    backend.client().feed(feeds.as_csv(feeds.rows(10, seed=92)), Traceparent=PARENT)

    def spans() -> dict[Span, str]:
        """The parent of each span of the trace."""
        return {
            (resource.resource.attributes[-1].value.string_value, span.name): span.parent_span_id.hex()
            for request in got
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if span.trace_id.hex() == TRACE
        }

    wait_until(lambda: {"POST", "import.chunk", "event"} <= {name for _, name in spans()}, "the spans arrive")
    parents = {name: parent for (_, name), parent in spans().items()}
    assert parents["POST"] == "00f067aa0ba902b7"
    assert parents["import.chunk"] not in ("", "00f067aa0ba902b7")

"""W3C trace context: one trace from a request through its messages to the workers, in the logs and, where it is
asked for, exported by OpenTelemetry.

Spans are exported where the extra `otel` is installed and OTEL_EXPORTER_OTLP_ENDPOINT is set; the usual OTEL_*
variables are read by the library itself.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from random import getrandbits
from typing import Any

from appstack_backend import logs

log = logs.get_logger()
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
NO_TRACE, NO_SPAN = "0" * 32, "0" * 16
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)
_tracer: Any = None  # an OpenTelemetry tracer, where spans are exported


def current() -> str | None:
    """The traceparent that goes with a message."""
    return _current.get()


def parsed(traceparent: object) -> tuple[str, str, str] | None:
    """(trace id, span id, flags) of a header or message; None if there is no valid one."""
    match = TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    if match is None or match[0].startswith("ff") or match[1] == NO_TRACE or match[2] == NO_SPAN:
        return None
    return match[1], match[2], match[3]


def span(name: str, kind: str, parent: object, **attributes: str) -> AbstractContextManager[object]:
    """A step of a trace: of the caller's if `parent` is a valid traceparent, else of a new one."""
    if _tracer is not None:
        return _exported_span(name, kind, parent, attributes)
    known = parsed(parent) if parent else None
    trace_id, flags = (known[0], known[2]) if known else (f"{getrandbits(128):032x}", "00")
    return Entered(trace_id, f"{getrandbits(64):016x}", flags)


class Entered:
    """While it lasts, logs and messages carry the step's ids."""

    def __init__(self, trace_id: str, span_id: str, flags: str) -> None:
        self._trace_id, self._span_id, self._flags = trace_id, span_id, flags

    def __enter__(self) -> None:
        self._current = _current.set(f"00-{self._trace_id}-{self._span_id}-{self._flags}")
        self._bound = logs.bind(trace_id=self._trace_id, span_id=self._span_id)

    def __exit__(self, *_: object) -> None:
        logs.unbind(self._bound)
        _current.reset(self._current)


def export(component: str, endpoint: str) -> None:
    """Export spans from now on; without an endpoint do nothing."""
    global _tracer  # noqa: PLW0603  # one per process, set once at its start
    if not endpoint:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("spans are not exported: install the extra `otel` of appstack-backend")
        return
    provider = TracerProvider(resource=Resource.create({"service.name": f"appstack-{component}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("appstack_backend")
    log.info("spans are exported", endpoint=endpoint)


def flush() -> None:
    """Send what is still here; called once, at the end of the process."""
    if _tracer is not None:
        _tracer.span_processor.shutdown()


@contextmanager
def _exported_span(name: str, kind: str, parent: object, attributes: dict[str, str]) -> Iterator[None]:
    from opentelemetry import trace

    context = None
    if known := parsed(parent):
        remote = trace.SpanContext(int(known[0], 16), int(known[1], 16), True, trace.TraceFlags(int(known[2], 16)))
        context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
    with _tracer.start_as_current_span(name, context, trace.SpanKind[kind], attributes) as started:
        ids = started.get_span_context()
        with Entered(f"{ids.trace_id:032x}", f"{ids.span_id:016x}", f"{int(ids.trace_flags):02x}"):
            yield

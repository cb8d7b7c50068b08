"""Logs: one JSON object a line on standard output, carrying the ids bound to the task at hand."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

Values = dict[str, Any]
# What every line of a task carries; a bound value makes a new dictionary. (structlog's own takes a context variable
# for each value, which is several times slower.)
_context: ContextVar[Values] = ContextVar("log_context", default={})  # noqa: B039  # never changed in place


def bind(**values: Any) -> Token[Values]:
    """Put values on every further line of this task; `unbind` takes the token."""
    return _context.set({**_context.get(), **values})


def begin(**values: Any) -> None:
    """Put these values, and no others, on every further line of this task."""
    _context.set(values)


unbind = _context.reset


@contextmanager
def bound(**values: Any) -> Iterator[None]:
    """Put values on every line within."""
    token = bind(**values)
    try:
        yield
    finally:
        unbind(token)


def merge_context(_logger: Any, _name: str, event: Any) -> Any:
    return {**_context.get(), **event}


def configure_logging(level: str, component: str, pod: str) -> None:
    """Send structlog and the standard library's loggers through one JSON renderer."""
    shared: list[Any] = [
        merge_context,
        structlog.processors.add_log_level,
        add_time,
        structlog.processors.format_exc_info,
    ]
    place = {"component": component, "pod": pod}

    def render(_logger: Any, _name: str, event: Any) -> bytes:
        return rendered({**place, **event})

    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda logger, name, event: render(logger, name, event).decode(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(level.upper())
    for noisy in ("aio_pika", "aiormq", "_granian", "granian"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def add_time(_logger: Any, _name: str, event: Any) -> Any:
    event["timestamp"] = datetime.now(UTC)
    return event


def rendered(event: dict[str, Any]) -> bytes:
    """One line; what JSON has no word for is shown as Python shows it."""
    try:
        return msgspec.json.encode(event, enc_hook=repr)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError):
        return json.dumps(event, default=str).encode()


def get_logger() -> Any:
    """A structlog logger: `log.info("what happened", key=value)`."""
    return structlog.get_logger()

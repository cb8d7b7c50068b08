"""Logs: one JSON object a line on standard output, carrying the ids bound to the task at hand."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

bind = structlog.contextvars.bind_contextvars
bound = structlog.contextvars.bound_contextvars
clear = structlog.contextvars.clear_contextvars


def configure_logging(level: str, component: str, pod: str) -> None:
    """Send structlog and the standard library's loggers through one JSON renderer."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
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

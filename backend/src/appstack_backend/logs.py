"""Logs: one JSON object a line on standard output, carrying the ids bound to the task at hand."""

import logging
import sys
from typing import Any

import structlog

bind = structlog.contextvars.bind_contextvars
bound = structlog.contextvars.bound_contextvars
clear = structlog.contextvars.clear_contextvars


def configure_logging(level: str, component: str, pod: str) -> None:
    """Send structlog and the standard library's loggers through one JSON renderer."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    output = logging.StreamHandler(sys.stdout)
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                lambda _logger, _name, event: {"component": component, "pod": pod, **event},
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [output]
    root.setLevel(level.upper())
    for noisy in ("aio_pika", "aiormq", "_granian", "granian"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def get_logger() -> Any:
    """A structlog logger: `log.info("what happened", key=value)`."""
    return structlog.get_logger()

"""Structured logs: one JSON object a line, with the stack and the pass that it is about."""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

STACK: ContextVar[str] = ContextVar("stack", default="")
PASS: ContextVar[int] = ContextVar("pass", default=0)

EXTRA = ("action", "target")


class JsonFormatter(logging.Formatter):
    """Renders a record as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, stack, pass, and whatever the caller added."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if stack := STACK.get():
            entry |= {"stack": stack, "pass": PASS.get()}
        entry |= {key: getattr(record, key) for key in EXTRA if hasattr(record, key)}
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def configure(level: str) -> None:
    """Send all logs to standard error as JSON; kopf's own only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("kopf", "aiohttp", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # an external broker that is away is told in status

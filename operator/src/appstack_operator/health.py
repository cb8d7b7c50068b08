"""Whether the process makes progress: heartbeats, and a door for probes that answers also when the loop is stuck."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Seconds until something counts as stuck.
LIMITS = {"loop": 15.0, "lease": 30.0}
PASS_LIMIT_SECONDS = 300.0


class Health:
    """What was heard last from every part of the process; every method may be called from any thread."""

    def __init__(self) -> None:
        """Not ready: nothing has been heard yet."""
        self.is_ready = False
        self._heard: dict[str, float] = {}
        self._passes: dict[int, tuple[str, float]] = {}
        self._numbers = 0

    def beat(self, part: str) -> None:
        """This part has made a step."""
        self._heard[part] = time.monotonic()

    @contextmanager
    def working(self, stack: str) -> Iterator[None]:
        """A pass over this stack is under way."""
        self._numbers += 1
        number = self._numbers
        self._passes[number] = (stack, time.monotonic())
        try:
            yield
        finally:
            del self._passes[number]

    def problem(self, now: float) -> str:
        """What is stuck, in a sentence; empty: nothing."""
        for part, heard in self._heard.copy().items():
            if now - heard > LIMITS[part]:
                return f"nothing was heard from the {part} for {now - heard:.0f} s"
        for stack, begun in list(self._passes.values()):
            if now - begun > PASS_LIMIT_SECONDS:
                return f"a pass over {stack} has been under way for {now - begun:.0f} s"
        return ""

    def answer(self, path: str, now: float) -> tuple[int, str]:
        """Status and text for a probe."""
        problem = self.problem(now)
        if path == "/healthz":
            return (503, problem) if problem else (200, "ok")
        if path == "/readyz":
            return (200, "ok") if self.is_ready and not problem else (503, problem or "starting")
        return 404, "ask /healthz or /readyz"

    def serve(self, port: int) -> None:
        """Answer in a thread of its own: a stuck event loop could not say that it is stuck."""
        health = self

        class Door(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = health.answer(self.path.partition("?")[0], time.monotonic())
                body = f"{text}\n".encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                """Probes are no news."""

        server = ThreadingHTTPServer(("", port), Door)
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()

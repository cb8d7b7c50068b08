"""The keeper's small HTTP side: probes, and what other keepers may know. It says nothing secret."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from appstack_redis.settings import KEEPER_PORT


def serve(*, state: Callable[[], str], live: Callable[[], bool], ready: Callable[[], bool]) -> None:
    """Answer /state, /livez and /readyz in the background."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            """Answer one question."""
            if self.path == "/state":
                self.answer(200, state())
            elif self.path in ("/livez", "/readyz"):
                good = live() if self.path == "/livez" else ready()
                self.answer(200 if good else 503, str(good).lower())
            else:
                self.answer(404, "null")

        def answer(self, status: int, text: str) -> None:
            """Send a JSON text."""
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not worth a line."""

    server = ThreadingHTTPServer(("", KEEPER_PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

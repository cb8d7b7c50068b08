"""A receiver of webhooks on loopback: it keeps what it is sent, and answers as the test says."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Receiver:
    """What came, and what is answered: the next status of the list, the last one for ever."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    location: str = ""
    got: list[tuple[dict[str, str], str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # when each came

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.got]

    def all_are_signed_with(self, secret: str) -> bool:
        """As Standard Webhooks tells receivers to verify; our own code takes no part in it."""
        key = base64.b64decode(secret.split("_", 1)[1])
        for headers, body in self.got:
            signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body}".encode()
            wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
            if wanted not in headers["webhook-signature"].split(" "):
                return False
        return bool(self.got)


@contextmanager
def receiver(*statuses: int, location: str = "", seconds: float = 0.0) -> Iterator[Receiver]:
    """A running receiver that answers after some seconds."""
    state = Receiver(statuses=list(statuses) or [200], location=location)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.times.append(time.monotonic())
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            time.sleep(seconds)
            state.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(state.statuses.pop(0) if len(state.statuses) > 1 else state.statuses[0])
            if state.location:
                self.send_header("Location", state.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/hook"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()

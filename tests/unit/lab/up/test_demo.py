"""What a person reads when the demo import of `make up` fails: the API's own words, the log, the probable cause."""

from __future__ import annotations

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from appstack_lab.up import demo
from appstack_lab.up.steps import StepFailed, Steps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A cluster with an API behind {port}, whose worker has said something.
KUBECTL = """#!/bin/bash
case "$1" in
  get) echo dG9rZW4=;;
  port-forward) [ {port} != none ] || exec sleep 60; echo "Forwarding from 127.0.0.1:{port} -> 8000"; exec sleep 60;;
  logs) [ {logs} = yes ] || exit 1; echo "[pod/shop-worker-bulk-0] the queue is out of reach";;
esac
"""


class Api(BaseHTTPRequestHandler):
    """Takes a feed; what it answers is set by each test."""

    protocol_version = "HTTP/1.1"
    answers: dict[str, tuple[int, dict[str, object]]]

    def do_POST(self) -> None:
        while size := int(self.rfile.readline(), 16):
            self.rfile.read(size + len("\r\n"))
        self.rfile.readline()
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        status, document = self.answers[self.command]
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def failure_of_the_demo(tmp_path: Path, port: int | str, logs: str = "yes") -> str:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(port=port, logs=logs))
    kubectl.chmod(0o755)
    steps = Steps(total=1, log_dir=tmp_path / "logs", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    with pytest.raises(StepFailed) as failure, steps.step("Demo", "demo", "the API or its worker is not serving."):
        demo.run(steps, "shop")
    return str(failure.value)


@pytest.fixture(autouse=True)
def short_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "feed", lambda: iter([b"sku\n"]))


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        pytest.param({"POST": (503, {"code": "QUEUE_FULL"})}, 'answered with 503: {"code": "QUEUE_FULL"}', id="503"),
        pytest.param(
            {"POST": (202, {"id": "1"}), "GET": (200, {"state": "failed", "error": "IMPORT_TRUNCATED"})},
            "The demo import ended as failed",
            id="a failed import",
        ),
    ],
)
@pytest.mark.parametrize("logs", ["yes", "no"])
def test_a_failed_demo_tells_what_the_api_said_the_log_and_the_cause(
    tmp_path: Path,
    server: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[str, tuple[int, dict[str, object]]],
    words: str,
    logs: str,
) -> None:
    monkeypatch.setattr(Api, "answers", answers, raising=False)
    said = failure_of_the_demo(tmp_path, server.server_port, logs)
    assert words in said.splitlines()[0]
    assert f"The whole log:  {tmp_path}/logs/demo.log" in said
    assert "Probable cause: the API or its worker is not serving." in said
    assert ("the queue is out of reach" in said) is (logs == "yes")


def test_a_way_to_the_api_that_never_opens_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FORWARD_LIMIT_SECONDS", 0.3)
    begun = time.monotonic()
    assert "kubectl port-forward to the API did not start" in failure_of_the_demo(tmp_path, port="none")
    assert time.monotonic() - begun < 30


def test_an_api_that_does_not_answer_is_told_with_the_log_too(tmp_path: Path) -> None:
    said = failure_of_the_demo(tmp_path, port=9)  # nobody listens there
    assert "POST /v1/imports got no answer from the API: ConnectionRefusedError" in said
    assert f"The whole log:  {tmp_path}/logs/demo.log" in said

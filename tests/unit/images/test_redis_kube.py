"""The label agent's door to the API server: whatever breaks is an OSError, which it tries again after."""

from __future__ import annotations

import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from appstack_redis import kube

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "namespace").write_text("shop")
    monkeypatch.setattr(kube, "ACCOUNT", tmp_path)
    monkeypatch.setattr(kube, "kept", [])


def connect_to(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "connect", lambda: HTTPConnection("127.0.0.1", port, timeout=10))


def test_an_api_server_that_dies_while_it_answers_is_tried_again(
    torn_http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_to(torn_http_port, monkeypatch)
    with pytest.raises(OSError, match="no whole answer"):
        kube.call("GET", "/api/v1/pods")
    assert kube.kept == []


class ApiServer(ThreadingHTTPServer):
    """Answers over connections that it ends, or refuses, when it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []  # method, path, the client's port: a new one is a new connection
        self.ends = self.refuses = self.is_mute = False
        self.said = b"{}"
        super().__init__(("127.0.0.1", 0), Answers)


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ApiServer

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, self.client_address[1]))
        if self.server.is_mute and self.client_address[1] == self.server.seen[0][2]:
            threading.Event().wait(5)
        assert self.headers["Authorization"] == "Bearer secret"
        self.send_response(503 if self.server.refuses else 200)
        self.send_header("Content-Length", str(len(self.server.said)))
        self.end_headers()
        self.wfile.write(self.server.said)
        self.close_connection = self.server.ends  # without a word about it

    do_PATCH = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    with ApiServer() as server:
        connect_to(server.server_address[1], monkeypatch)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_connection_is_kept_for_the_next_call(api_server: ApiServer) -> None:
    for _ in range(3):
        kube.set_label("shop-redis-0", "appstack.dev/role", "master")
    assert [(method, path) for method, path, _ in api_server.seen] == [
        ("PATCH", "/api/v1/namespaces/shop/pods/shop-redis-0")
    ] * 3
    assert len({port for *_, port in api_server.seen}) == 1


def test_a_connection_that_the_server_has_ended_costs_no_call(api_server: ApiServer) -> None:
    api_server.ends = True
    for _ in range(3):
        assert kube.call("GET", "/api/v1/pods") == {}
    assert len({port for *_, port in api_server.seen}) == 3


def test_a_server_that_is_lost_behind_a_kept_connection_is_given_up_soon(
    api_server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that was lost with a node says nothing, and ends no connection."""
    monkeypatch.setattr(kube, "KEPT_SECONDS", 0.2)
    port = api_server.server_address[1]  # who waits as long as for a new one is answered in the end, by the same one
    monkeypatch.setattr(kube, "connect", lambda: HTTPConnection("127.0.0.1", port, timeout=60))
    assert kube.call("GET", "/api/v1/pods") == {}
    api_server.is_mute = True
    assert kube.call("GET", "/api/v1/pods") == {}
    assert len({port for *_, port in api_server.seen}) == 2


def test_an_answer_that_is_none_is_told_and_asked_for_once(api_server: ApiServer) -> None:
    assert kube.call("GET", "/api/v1/pods") == {}
    api_server.said = b"<html>"
    with pytest.raises(OSError, match="no whole answer"):
        kube.call("GET", "/api/v1/pods")
    assert len(api_server.seen) == 3, "over the kept connection, and over a new one"


def test_a_refusal_is_told(api_server: ApiServer) -> None:
    api_server.refuses = True
    with pytest.raises(OSError, match="503"):
        kube.call("GET", "/api/v1/pods")
    api_server.refuses = False
    assert kube.call("GET", "/api/v1/pods") == {}
    assert len({port for *_, port in api_server.seen}) == 1, "it was read, and the connection is good"


def test_a_server_that_is_away_is_told(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kube.call("GET", "/api/v1/pods") == {}
    api_server.shutdown()
    api_server.server_close()
    connect_to(1, monkeypatch)
    kube.kept.pop().close()
    with pytest.raises(OSError, match="refused"):
        kube.call("GET", "/api/v1/pods")

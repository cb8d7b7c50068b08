"""Clients of the load that use the API: whom they ask, over which connections, and when they try again."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest

from tests.chaos.clients import api, leading
from tests.chaos.clients.__main__ import CLIENTS
from tests.chaos.clients.record import Recorder
from tests.chaos.history import Action, Operation, Outcome, read_history
from tests.unit.chaos.made_target import TARGET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.clients.target import Target


def test_each_writer_of_the_api_has_a_register_of_its_own() -> None:
    writers = [f"{kind}{copy}" for kind in ("api-writer", "api-reconnecting-writer") for copy in ("", ".2", ".10")]
    assert len({api.sku_of(name) for name in writers}) == 6


class Shop(BaseHTTPRequestHandler):
    """An API that keeps its connections, and notes over which one each request came."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str, int]]] = []
    moods: ClassVar[Iterator[int]] = itertools.repeat(200)  # what is answered, request by request; 0: nothing
    over: ClassVar[threading.Event] = threading.Event()
    place: ClassVar[tuple[str, int]]

    def answer(self) -> None:
        self.asked.append((self.command, self.path, self.client_address[1]))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"price": "1.00"}'
        if not (code := next(self.moods)):
            self.over.wait()
            return
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_DELETE = answer

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    monkeypatch.setattr(api, "RHYTHM_SECONDS", 0.01)
    monkeypatch.setattr(Shop, "over", threading.Event())
    Shop.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    monkeypatch.setattr(Shop, "place", ("127.0.0.1", server.server_port), raising=False)
    threading.Thread(target=server.serve_forever).start()
    yield replace(TARGET, api_url=f"http://127.0.0.1:{server.server_port}", api_token="token")
    Shop.over.set()
    server.shutdown()
    server.server_close()


def work(
    name: str, directory: Path, target: Target, monkeypatch: pytest.MonkeyPatch, requests: int = 8
) -> list[Operation]:
    """What a client of the API writes down of its first requests."""
    _, _, function = CLIENTS[name].partition(".")
    recorder = Recorder(name, directory / f"{name}.jsonl")
    attempt = recorder.attempt

    def counted(*words: Any) -> bool:
        if len(Shop.asked) == requests - 1:
            recorder.stop.set()
        return attempt(*words)

    monkeypatch.setattr(recorder, "attempt", counted)
    getattr(api, function)(recorder, target)
    return list(read_history(recorder.path))


@pytest.mark.parametrize(("name", "connections"), [("api-writer", 1), ("api-reconnecting-writer", 8)])
def test_a_writer_of_the_api_holds_its_connection_or_opens_a_new_one_for_each_write(
    name: str, connections: int, recorder: Recorder, shop: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = work(name, recorder.path.parent, shop, monkeypatch)
    assert [(o.client, o.action, o.key, o.value, o.outcome) for o in told] == [
        (name, Action.WRITE, api.sku_of(name), number, Outcome.OK) for number in range(1, 9)
    ]
    assert {(method, path) for method, path, _ in Shop.asked} == {("PUT", f"/v1/products/{api.sku_of(name)}")}
    assert len({port for _, _, port in Shop.asked}) == connections


@pytest.mark.parametrize("name", ["api-writer", "api-held"])
def test_a_held_connection_leads_to_the_pod_that_is_struck(
    name: str, recorder: Recorder, shop: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    led = iter(["10.0.0.8", "10.0.0.8", "10.0.0.9"])
    monkeypatch.setattr(leading, "pods_behind", lambda *place: {next(led)} if place == Shop.place else set())
    told = work(name, recorder.path.parent, replace(shop, api_pod="10.0.0.9"), monkeypatch)
    ports = [port for _, _, port in Shop.asked]
    assert len(set(ports[:3])) == 3
    assert set(ports[3:]) == {ports[2]} and len(told) == len(ports) - 3


def test_a_held_connection_that_leads_nowhere_near_is_told(shop: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "pods_behind", lambda *_: {"10.0.0.8"})
    with pytest.raises(leading.Elsewhere, match=r"leads to 10\.0\.0\.9"):
        api.held_client_of(replace(shop, api_pod="10.0.0.9"))


@pytest.mark.parametrize("name", ["api-held", "api-reconnecting", "api-retrying"])
def test_a_reader_of_the_api_reads_what_both_writers_write(
    name: str, recorder: Recorder, shop: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = work(name, recorder.path.parent, shop, monkeypatch)
    read = Counter(o.key for o in told if o.action is Action.READ)
    assert read == {api.sku_of("api-writer"): 2, api.sku_of("api-reconnecting-writer"): 2}


@pytest.mark.parametrize("trouble", [0, 503], ids=["nobody answers", "who answers cannot"])
def test_a_reader_that_tries_again_is_served_by_the_next_who_can(
    trouble: int, recorder: Recorder, shop: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "RETRYING", httpx.Timeout(0.2))
    monkeypatch.setattr(Shop, "moods", itertools.chain([200, trouble, trouble], itertools.repeat(200)))
    told = work("api-retrying", recorder.path.parent, shop, monkeypatch)
    assert {o.outcome for o in told} == {Outcome.OK}
    assert len(Shop.asked) == len(told) + 2
    assert len({port for _, _, port in Shop.asked}) == len(Shop.asked)  # each attempt over a connection of its own


def test_a_reader_that_tries_again_gives_up_when_its_user_does(shop: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shop, "moods", itertools.repeat(503))
    with httpx.Client(base_url=shop.api_url, transport=api.Retrying(httpx.HTTPTransport(), 0.3)) as http:
        assert api.get_register(http, api.SKU)[1] is Outcome.FAILED
    assert len(Shop.asked) > 1


def test_a_run_begins_with_no_register_of_an_earlier_one(shop: Target) -> None:
    api.prepare(shop)
    kinds = ("api-writer", "api-reconnecting-writer")
    written = {api.sku_of(f"{kind}{copy}") for kind in kinds for copy in ("", *(f".{n}" for n in range(2, 11)))}
    assert {(method, path) for method, path, _ in Shop.asked} == {("DELETE", f"/v1/products/{sku}") for sku in written}

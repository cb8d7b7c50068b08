"""Users of the API: writers and readers of products, and a supplier who sends feeds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx

from tests.chaos.clients import leading
from tests.chaos.history import Action, Outcome

if TYPE_CHECKING:
    from tests.chaos.clients.record import Recorder, Result
    from tests.chaos.clients.target import Target

RHYTHM_SECONDS = 0.2
ANSWER_SECONDS = 10.0  # a user's patience; slow is counted apart
# What docs/api.md tells clients to do about a lost node: hang up soon, and try anew, over a connection of its own.
RETRYING = httpx.Timeout(2.0, connect=0.5)
BETWEEN_ATTEMPTS_SECONDS = 0.05
SKU = "CHAOS-REGISTER"
# Who writes which register: nobody else does, and by its name a broken promise is told of its kind of client.
REGISTERS = {"api-writer": SKU, "api-reconnecting-writer": f"{SKU}-reconnecting"}
FEED_ROWS = 2000
HEADER = "sku,name,category,supplier,price,currency,quantity,warehouse\n"
FINAL_STATES = {"succeeded", "failed", "cancelled"}
# Nothing was sent, so nothing took effect.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def client_of(target: Target, *, is_held: bool, tries_again: bool = False) -> httpx.Client:
    """A user's HTTP client; held: it keeps its connection between requests."""
    once = httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=1 if is_held else 0))
    return httpx.Client(
        base_url=target.api_url,
        headers={"Authorization": f"Bearer {target.api_token}"},
        timeout=RETRYING if tries_again else httpx.Timeout(ANSWER_SECONDS, connect=2.0),
        transport=Retrying(once) if tries_again else once,
    )


def held_client_of(target: Target) -> httpx.Client:
    """Whose connection leads to the pod that the target names. Raises Elsewhere."""
    for _ in range(leading.TRIES):
        http = client_of(target, is_held=True)
        if not target.api_pod:
            return http
        get_page(http)
        if target.api_pod in leading.pods_behind(http.base_url.host, http.base_url.port or 80):
            return http
        http.close()
    raise leading.Elsewhere(f"no connection to {target.api_url} leads to {target.api_pod}")


class Retrying(httpx.BaseTransport):
    """Asks anew for as long as a user waits, whenever nobody answers, or somebody that cannot (5xx).

    For what may be repeated alone; `inner` keeps no connection. Raises what the last attempt raised.
    """

    def __init__(self, inner: httpx.BaseTransport, patience_seconds: float = ANSWER_SECONDS) -> None:
        self.inner, self.patience_seconds = inner, patience_seconds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request of a user; each attempt has the limits of the client."""
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                answer = self.inner.handle_request(request)
                answer.read()
            except httpx.TransportError:
                if time.monotonic() >= deadline:
                    raise
            else:
                if not answer.is_server_error or time.monotonic() >= deadline:
                    return answer
                answer.close()
            time.sleep(BETWEEN_ATTEMPTS_SECONDS)

    def close(self) -> None:
        self.inner.close()


def write_held(recorder: Recorder, target: Target) -> None:
    """Over one connection."""
    write(recorder, held_client_of(target))


def write_reconnecting(recorder: Recorder, target: Target) -> None:
    """Over a new connection each time."""
    write(recorder, client_of(target, is_held=False))


def write(recorder: Recorder, http: httpx.Client) -> None:
    """Set the price of one product to 1, 2, 3, …: a register, which nobody else writes."""
    sku = sku_of(recorder.client)

    def put(number: int) -> Result:
        value = number + 1
        try:
            answer = http.put(f"/v1/products/{sku}", json=product(value))
        except UNSENT as error:
            return value, Outcome.FAILED, f"{type(error).__name__}: {error}"
        except httpx.HTTPError as error:
            return value, Outcome.UNKNOWN, f"{type(error).__name__}: {error}"
        return value, Outcome.OK if answer.is_success else Outcome.UNKNOWN, in_words(answer)

    recorder.every(RHYTHM_SECONDS, lambda n: recorder.attempt(Action.WRITE, sku, lambda: put(n)))


def sku_of(client: str) -> str:
    """The register of a writer; copies have one each."""
    kind, _, number = client.partition(".")
    return f"{REGISTERS[kind]}-{number}" if number else REGISTERS[kind]


def product(value: int) -> dict[str, Any]:
    """The document whose price is the register's value."""
    return {"name": "register", "category": "chaos", "supplier": "chaos", "price": f"{value}.00", "currency": "EUR"}


def in_words(answer: httpx.Response) -> str:
    """Why a request was refused; empty where it was not."""
    return "" if answer.is_success else f"{answer.status_code} {answer.text}"


def read_held(recorder: Recorder, target: Target) -> None:
    """Over one connection."""
    read(recorder, held_client_of(target))


def read_reconnecting(recorder: Recorder, target: Target) -> None:
    """Over a new connection each time."""
    read(recorder, client_of(target, is_held=False))


def read_retrying(recorder: Recorder, target: Target) -> None:
    """As docs/api.md tells clients to."""
    read(recorder, client_of(target, is_held=False, tries_again=True))


def read(recorder: Recorder, http: httpx.Client) -> None:
    """In turn: a register, which must be fresh, and a page of products; of the registers one after the other."""
    registers = list(REGISTERS.values())

    def step(number: int) -> bool:
        if number % 2:
            return recorder.attempt(Action.PROBE, "page", lambda: get_page(http))
        sku = registers[number // 2 % len(registers)]
        return recorder.attempt(Action.READ, sku, lambda: get_register(http, sku))

    recorder.every(RHYTHM_SECONDS, step)


def get_register(http: httpx.Client, sku: str) -> Result:
    """The register's value; None while it was never written."""
    try:
        answer = http.get(f"/v1/products/{sku}")
    except httpx.HTTPError as error:
        return None, Outcome.FAILED, f"{type(error).__name__}: {error}"
    if answer.status_code == httpx.codes.NOT_FOUND:
        return None, Outcome.OK, ""
    if not answer.is_success:
        return None, Outcome.FAILED, in_words(answer)
    return int(float(answer.json()["price"])), Outcome.OK, ""


def get_page(http: httpx.Client) -> Result:
    try:
        answer = http.get("/v1/products", params={"limit": 20})
    except httpx.HTTPError as error:
        return None, Outcome.FAILED, f"{type(error).__name__}: {error}"
    return None, Outcome.OK if answer.is_success else Outcome.FAILED, in_words(answer)


def send_feeds(recorder: Recorder, target: Target) -> None:
    """Send one feed after the other, and wait for the end of each; a feed in doubt is sent again under its key.

    At the end of the run the last accepted feed is still waited for.
    """
    http = client_of(target, is_held=True)
    while not recorder.stop.is_set():
        key = f"{recorder.client}-{time.time_ns()}"
        job = None
        while job is None and not recorder.stop.is_set():
            job = post_feed(recorder, http, key)
        if job is not None:
            wait_for_end(recorder, http, key, job)
        recorder.stop.wait(0.2)


def post_feed(recorder: Recorder, http: httpx.Client, key: str) -> str | None:
    """Send a feed; the job's id once it is accepted."""
    rows = "".join(f"{key}-{n},n,chaos,chaos,1.00,EUR,{n},main\n" for n in range(FEED_ROWS))
    start = time.monotonic()
    headers = {"Content-Type": "text/csv", "Idempotency-Key": key}
    try:
        answer = http.post("/v1/imports", content=(HEADER + rows).encode(), headers=headers)
    except httpx.HTTPError as error:
        recorder.note(Action.IMPORT, key, FEED_ROWS, start, Outcome.UNKNOWN, f"{type(error).__name__}: {error}")
        recorder.stop.wait(0.2)
        return None
    accepted = answer.status_code == httpx.codes.ACCEPTED
    recorder.note(Action.IMPORT, key, FEED_ROWS, start, Outcome.OK if accepted else Outcome.UNKNOWN, in_words(answer))
    if not accepted:  # a key is busy for as long as its receiver may still live: who asked at once would ask in vain
        recorder.stop.wait(float(answer.headers.get("Retry-After", 0.2)))
    return str(answer.json()["id"]) if accepted else None


def wait_for_end(recorder: Recorder, http: httpx.Client, key: str, job: str, limit_seconds: float = 120) -> None:
    """Ask until the job has ended, then write down how many rows it says took effect."""
    start = time.monotonic()
    while time.monotonic() - start < limit_seconds:
        try:
            answer = http.get(f"/v1/imports/{job}")
            found = answer.json() if answer.is_success else {}
        except (httpx.HTTPError, ValueError):
            found = {}
        if found.get("state") in FINAL_STATES:
            recorder.note(Action.IMPORTED, key, int(found["rows"]["imported"]), start, Outcome.OK, found["state"])
            return
        time.sleep(0.3)
    recorder.note(Action.IMPORTED, key, None, start, Outcome.UNKNOWN, "no end in sight")


def prepare(target: Target) -> None:
    """Remove the registers of an earlier run."""
    with client_of(target, is_held=False) as http:
        for kind in REGISTERS:
            for number in ("", *range(2, 11)):
                http.delete(f"/v1/products/{sku_of(f'{kind}.{number}')}")

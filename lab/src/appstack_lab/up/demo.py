"""The demo: a generated supplier feed goes through the API, the queue and a worker, and is read back."""

from __future__ import annotations

import base64
import http.client
import json
import re
import select
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appstack_lab.up.stack import STACK
from appstack_lab.up.steps import StepFailed, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from appstack_lab.up.steps import Steps

ROWS = 20_000
LIMIT_SECONDS = 300
FORWARD_LIMIT_SECONDS = 60  # until kubectl tells the port: two requests to the API server
HEADER = "sku,name,category,supplier,price,currency,quantity,warehouse\n"
FINAL = {"succeeded", "failed", "cancelled"}
LOGS = ("logs", "-l", "appstack.dev/component in (api,worker-bulk)", "--all-containers", "--prefix", "--tail=5")
THINGS = ("Kettle", "Lamp", "Desk", "Chair", "Drill", "Rope", "Tent", "Mug", "Bottle", "Clock")


@dataclass(frozen=True)
class Numbers:
    """What the demo measured."""

    rows: int
    imported: int
    rejected: int
    upload_seconds: float
    total_seconds: float


class ApiFailed(Exception):
    """The API did not do what the demo asked of it; the message says what it did."""


@contextmanager
def explained(steps: Steps, namespace: str) -> Iterator[None]:
    """Tell a failure of the API with the log to read, into which its pods' own words go, and the probable cause."""
    try:
        yield
    except ApiFailed as failure:
        with suppress(StepFailed):  # the first failure is the one to tell
            steps.run("kubectl", *LOGS, "-n", namespace)
        raise StepFailed(steps.explain(str(failure))) from failure


def run(steps: Steps, namespace: str) -> Numbers:
    """Import ROWS products and read one back. Raises StepFailed with the API's own words."""
    token = api_token(steps, namespace)
    with api_connection(steps, namespace) as connect, explained(steps, namespace):
        begun = time.monotonic()
        job = post_feed(connect(), token)
        uploaded = time.monotonic()
        job = wait_for(connect(), token, job["id"], begun + LIMIT_SECONDS)
        done = time.monotonic()
        if job["state"] != "succeeded":
            raise ApiFailed(f"The demo import ended as {job['state']}: {json.dumps(job)}")
        product = call(connect(), token, "GET", f"/v1/products/{sku(ROWS)}")
        if product["sku"] != sku(ROWS):
            raise ApiFailed(f"The demo asked for {sku(ROWS)} and got {product}")
    rows = job["rows"]
    return Numbers(rows["received"], rows["imported"], rows["rejected"], uploaded - begun, done - begun)


def feed() -> Iterator[bytes]:
    """ROWS product lines as CSV, the same on every run."""
    yield HEADER.encode()
    for first in range(1, ROWS + 1, 1000):
        numbers = range(first, min(first + 1000, ROWS + 1))
        yield "".join(line(number) for number in numbers).encode()


def line(number: int) -> str:
    thing = THINGS[number % len(THINGS)]
    supplier, price, quantity = f"Supplier {number % 40}", f"{number % 500}.{number % 100:02}", number % 1000
    return f"{sku(number)},{thing} no. {number},{thing.lower()}s,{supplier},{price},EUR,{quantity},main\n"


def sku(number: int) -> str:
    return f"DEMO-{number:06}"


def api_token(steps: Steps, namespace: str) -> str:
    secret = ("secret", f"{STACK}-api-token", "-n", namespace)
    encoded = steps.run("kubectl", "get", *secret, "-o", "jsonpath={.data.token}", is_secret=True)
    return base64.b64decode(encoded).decode()


@contextmanager
def api_connection(steps: Steps, namespace: str) -> Iterator[Any]:
    """A way to the API that works on any cluster: kubectl port-forward to a free local port."""
    command = ["kubectl", "port-forward", f"service/{STACK}-api", ":80", "-n", namespace]
    with steps.log.open("a") as log:
        process = subprocess.Popen(command, env=steps.env, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        speaks, _, _ = select.select([process.stdout], [], [], FORWARD_LIMIT_SECONDS)
        first = process.stdout.readline() if speaks else ""
        port = re.search(r":(\d+) ->", first)
        if port is None:
            raise StepFailed(steps.explain("kubectl port-forward to the API did not start."))
        yield lambda: http.client.HTTPConnection("127.0.0.1", int(port.group(1)), timeout=60)
    finally:
        process.terminate()
        process.wait()


def post_feed(connection: http.client.HTTPConnection, token: str) -> dict[str, Any]:
    headers = {"Content-Type": "text/csv", "Authorization": f"Bearer {token}", "Transfer-Encoding": "chunked"}
    return call(connection, token, "POST", "/v1/imports", feed(), headers)


def wait_for(connection: http.client.HTTPConnection, token: str, job_id: str, deadline: float) -> dict[str, Any]:
    """The job once it has ended; until then its progress is told. Raises ApiFailed after the deadline."""
    while True:
        job = call(connection, token, "GET", f"/v1/imports/{job_id}")
        if job["state"] in FINAL:
            return job
        if time.monotonic() > deadline:
            raise ApiFailed(f"The demo import did not end: {json.dumps(job)}")
        say(f"      {job['state']}: {job['rows']['imported']} of {job['rows']['received']} rows")
        time.sleep(1)


def call(
    connection: http.client.HTTPConnection,
    token: str,
    method: str,
    path: str,
    body: Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One request; the answer as JSON. Raises ApiFailed with the problem that the API told."""
    send = dict(headers or {"Authorization": f"Bearer {token}"})
    try:
        connection.request(method, path, body=body, headers=send, encode_chunked=body is not None)
        response = connection.getresponse()
        text = response.read()
    except (http.client.HTTPException, OSError) as error:
        raise ApiFailed(f"{method} {path} got no answer from the API: {error!r}.") from error
    if response.status >= http.client.BAD_REQUEST:
        raise ApiFailed(f"{method} {path} was answered with {response.status}: {text.decode(errors='replace')}")
    answer: dict[str, Any] = json.loads(text)
    return answer

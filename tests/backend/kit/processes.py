"""Processes of the backend under test: the real command line, on real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from tests.backend.kit.described import hold_to_description
from tests.backend.kit.rootfs import children, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = str(Path(sys.executable).parent / "appstack-backend")
ADMIN_TOKEN = "test-admin"
PATIENCE_SECONDS = 120.0
FINAL_STATES = ("succeeded", "failed", "cancelled")
Json = dict[str, Any]
T = TypeVar("T")


def wait_until(ask: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """The first answer that is not empty."""
    give_up_at = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return answer


@dataclass(slots=True)
class Process:
    """One role of the backend as a process."""

    popen: subprocess.Popen[bytes]
    log: Path
    metrics_port: int

    def kill(self) -> None:
        """As a lost node does it."""
        self.popen.kill()
        self.popen.wait()

    def terminate(self) -> int:
        """As Kubernetes does it; the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE_SECONDS)

    def lines(self) -> list[Json]:
        """What it logged, as far as it has written whole lines."""
        written = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in written.splitlines() if line.startswith("{")]

    def metrics(self) -> dict[str, float]:
        """Its figures by series name."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=PATIENCE_SECONDS).text
        samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


@dataclass(slots=True)
class Backend:
    """The backend of one test: its environment, and the processes that were started in it."""

    environment: dict[str, str]
    folder: Path
    api_port: int = 0
    command: tuple[str, ...] = (COMMAND,)
    started: list[Process] = field(default_factory=list)

    def start(self, *args: str, **environment: str) -> Process:
        """Start one role; settings come as keyword arguments."""
        metrics_port = free_port()
        settings = {
            **self.environment,
            "METRICS_PORT": str(metrics_port),
            "DRAIN_PAUSE_SECONDS": "0",
            **environment,
        }
        log = self.folder / f"{len(self.started)}-{args[0]}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [*self.command, *args],
                env={"PATH": os.environ["PATH"], **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        process = Process(popen, log, metrics_port)
        self.started.append(process)
        return process

    def run(self, *args: str, **environment: str) -> Process:
        """Run a role to its successful end."""
        process = self.start(*args, **environment)
        code = process.popen.wait(PATIENCE_SECONDS)
        assert code == 0, process.log.read_text()
        return process

    def start_api(self, **environment: str) -> Process:
        """Start an API and wait until it is ready."""
        self.api_port = free_port()
        process = self.start("api", API_HOST="127.0.0.1", API_PORT=str(self.api_port), **environment)

        def is_ready() -> bool:
            assert process.popen.poll() is None, process.log.read_text()
            try:
                return httpx.get(f"http://127.0.0.1:{self.api_port}/readyz").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        wait_until(is_ready, "the API is ready")
        return process

    def start_worker(self, queues: str = "bulk,notifications", **environment: str) -> Process:
        """Start a worker and wait until it consumes."""
        process = self.start("worker", "--queues", queues, **environment)

        def consumes() -> bool:
            assert process.popen.poll() is None, process.log.read_text()
            return process.log.read_text().count('"consuming"') == queues.count(",") + 1

        wait_until(consumes, "the worker consumes")
        return process

    def client(self) -> Api:
        return Api(
            httpx.Client(
                base_url=f"http://127.0.0.1:{self.api_port}",
                headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
                timeout=PATIENCE_SECONDS,
                event_hooks={"response": [hold_to_description]},
            )
        )

    def stop(self) -> None:
        """Kill what still runs."""
        for process in self.started:
            process.kill()


@dataclass(frozen=True, slots=True)
class Api:
    """The API as its users see it."""

    http: httpx.Client

    def post(self, body: Any, **headers: str) -> httpx.Response:
        """Send a feed; header names have _ for -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/v1/imports", content=body, headers={"Content-Type": "text/csv", **given})

    def feed(self, body: Any, **headers: str) -> Json:
        """Send a feed and wait until its import ended; the job."""
        answer = self.post(body, **headers)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return self.ended(answer.json()["id"])

    def job(self, job_id: str) -> Json:
        answer = self.http.get(f"/v1/imports/{job_id}")
        assert answer.is_success, answer.text
        job: Json = answer.json()
        return job

    def ended(self, job_id: str) -> Json:
        """The job once it is in a final state."""

        def final() -> Json | None:
            job = self.job(job_id)
            return job if job["state"] in FINAL_STATES else None

        job = wait_until(final, f"import {job_id} ends")
        assert job is not None
        return job

    def pages(self, path: str, **query: Any) -> list[Json]:
        """The items of all pages."""
        items: list[Json] = []
        cursor: str | None = None
        while True:
            answer = self.http.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
            assert answer.is_success, answer.text
            items += answer.json()["items"]
            cursor = answer.json()["next_cursor"]
            if not cursor:
                return items

    def errors(self, job_id: str) -> dict[int, str]:
        """The codes of rejected rows by line."""
        return {row["line"]: row["code"] for row in self.pages(f"/v1/imports/{job_id}/errors", limit=2)}

    def export(self, **order: Any) -> str:
        """The content of an export."""
        answer = self.http.post("/v1/exports", json={"format": "csv", **order})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        location = answer.headers["Location"]
        wait_until(lambda: self.http.get(location).json()["state"] == "succeeded", "the export succeeds")
        return self.http.get(f"{location}/content").text


def descendants(pid: int) -> list[int]:
    """All processes below one, as far as they have not ended meanwhile."""
    return [found for child in children(pid) for found in (child, *descendants(child))]

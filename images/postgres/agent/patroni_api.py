"""The REST API of this member's own Patroni."""

from __future__ import annotations

import base64
import http.client
import json
import os
from typing import Any

PORT = 8008


def ask(method: str, path: str, body: object = None, timeout_seconds: float = 2.0) -> Any:
    """One request and its answer as data or text; raises OSError without one, or when Patroni refuses."""
    headers = {"Content-Type": "application/json"}
    if method != "GET":
        account = f"{os.environ['PATRONI_RESTAPI_USERNAME']}:{os.environ['PATRONI_RESTAPI_PASSWORD']}"
        headers["Authorization"] = f"Basic {base64.b64encode(account.encode()).decode()}"
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=timeout_seconds)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    except http.client.HTTPException as error:
        raise OSError(f"Patroni did not answer: {error!r}") from error
    finally:
        connection.close()
    # GET tells a role by its status (503: not the primary); the body is the answer all the same.
    if method != "GET" and answer.status >= http.client.BAD_REQUEST:
        raise OSError(f"Patroni refused {path}: {text}")
    try:
        return json.loads(text)
    except ValueError:
        return text

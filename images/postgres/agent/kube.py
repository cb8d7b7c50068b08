"""The API server as the agents of a member use it: by address, with the pod's own account, with short time limits."""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 2.0


def server() -> str:
    """The API server by its address: a failover must not wait for a name server that was lost with the node."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def trust() -> ssl.SSLContext:
    """Who may answer as the API server."""
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    # Python 3.13 refuses certificates without an authority key identifier; many clusters have such ones.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def open_request(method: str, path: str, body: object, timeout_seconds: float) -> HTTPResponse:
    """Send one request for an object of the pod's own namespace; raises OSError when it fails."""
    namespace = (ACCOUNT / "namespace").read_text()
    request = urllib.request.Request(f"{server()}/api/v1/namespaces/{namespace}/{path}", method=method)  # noqa: S310
    request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text()}")
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/merge-patch+json")
    answer: HTTPResponse = urllib.request.urlopen(request, data, timeout_seconds, context=trust())  # noqa: S310
    return answer


def call(method: str, path: str, body: object = None) -> Any:
    """One API request and its answer; raises OSError when it fails."""
    try:
        with open_request(method, path, body, TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except (HTTPException, ValueError) as error:
        raise OSError(f"no whole answer: {error!r}") from error


def watch(path: str, silence_seconds: float) -> Iterator[Any]:
    """The objects of a list as they are now and whenever they change; raises OSError after silence or at its end."""
    try:
        with open_request("GET", f"{path}&watch=true", None, silence_seconds) as answer:
            for line in answer:
                event = json.loads(line)
                if event["type"] not in ("ADDED", "MODIFIED"):
                    raise OSError(f"the watch ended: {event}")
                yield event["object"]
    except (HTTPException, ValueError) as error:
        raise OSError(f"the watch broke: {error!r}") from error
    raise OSError("the watch ended")

"""The three API calls that the label agent needs, with the pod's own account and short time limits."""

import json
import os
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 3.0
# A handshake takes most of a call's time where processors are scarce, as while a node is drained. But the server behind
# a kept connection may have ended since, or be lost: it gets less time, and then a new one is tried.
KEPT_SECONDS = 1.5
kept: list[HTTPConnection] = []


def connect() -> HTTPConnection:
    """A connection to the API server by its address: a failover must not wait for a name server that is lost, too."""
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    # Python 3.13 refuses certificates without an authority key identifier; many clusters have such ones.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    return HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)


def namespace() -> str:
    """The namespace of this pod."""
    return (ACCOUNT / "namespace").read_text()


def call(method: str, path: str, body: object = None) -> Any:
    """One request, which may be made twice; raises OSError when it fails, or when the answer is not whole."""
    while kept:
        connection = kept.pop()
        if connection.sock:
            connection.sock.settimeout(KEPT_SECONDS)
        try:
            return ask(connection, method, path, body)
        except Refused:
            raise
        except (HTTPException, ValueError, OSError):
            connection.close()
    connection = connect()
    try:
        return ask(connection, method, path, body)
    except Refused:
        raise
    except (HTTPException, ValueError) as error:
        connection.close()
        raise OSError(f"no whole answer: {error!r}") from error
    except OSError:
        connection.close()
        raise


class Refused(OSError):
    """The API server answered, and not as was hoped."""


def ask(connection: HTTPConnection, method: str, path: str, body: object) -> Any:
    """One request over this connection, which is kept if it may be."""
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"}  # read anew: it is replaced every hour
    if body is not None:
        headers["Content-Type"] = "application/merge-patch+json"
    connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
    answer = connection.getresponse()
    told = answer.read()
    found = json.loads(told) if answer.status < 400 else None
    if answer.will_close:
        connection.close()
    else:
        kept.append(connection)
    if answer.status >= 400:
        raise Refused(f"HTTP Error {answer.status}: {answer.reason}")
    return found


@dataclass(frozen=True)
class Pod:
    """What the label agent needs to know of a pod."""

    labels: Mapping[str, str]
    is_ending: bool = False  # deleted, but not gone yet


def pods(selector: str) -> dict[str, Pod]:
    """The pods by name."""
    query = urllib.parse.urlencode({"labelSelector": selector})
    items = [item["metadata"] for item in call("GET", f"/api/v1/namespaces/{namespace()}/pods?{query}")["items"]]
    return {meta["name"]: Pod(meta.get("labels", {}), "deletionTimestamp" in meta) for meta in items}


def set_label(pod: str, label: str, value: str | None) -> None:
    """Set a label of a pod, or take it off."""
    call("PATCH", f"/api/v1/namespaces/{namespace()}/pods/{pod}", {"metadata": {"labels": {label: value}}})

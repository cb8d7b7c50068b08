"""The three API calls that the label agent needs, with the pod's own account and short time limits."""

import json
import os
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = 3.0


def server() -> str:
    """The API server by its address: a failover must not wait for a name server that was lost with the node."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def namespace() -> str:
    """The namespace of this pod."""
    return (ACCOUNT / "namespace").read_text()


def call(method: str, path: str, body: object = None) -> Any:
    """One request; raises OSError (urllib's errors are) when it fails, or when the answer is not whole."""
    request = urllib.request.Request(server() + path, method=method)  # noqa: S310
    request.add_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text()}")
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/merge-patch+json")
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    # Python 3.13 refuses certificates without an authority key identifier; many clusters have such ones.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        with urllib.request.urlopen(request, data, TIMEOUT_SECONDS, context=context) as answer:  # noqa: S310
            return json.load(answer)
    except (HTTPException, ValueError) as error:
        raise OSError(f"no whole answer: {error!r}") from error


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

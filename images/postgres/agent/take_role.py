#!/usr/bin/python3
"""Patroni's on_role_change: the new primary takes the role label, and takes it off whoever held it.

Patroni labels its own pod alone: a primary whose node is cut off would stay in the `-rw` Service until its
node is NotReady. Called as `take_role.py ACTION ROLE SCOPE`.
"""

import os
import sys
import time
import urllib.parse
from collections.abc import Collection, Mapping

from kube import call

TRY_SECONDS = 30.0
ROLE_LABEL = "appstack.dev/role"
SCOPE_LABEL = "appstack.dev/patroni"


def changes(
    winner: str, role_of: Mapping[str, str | None], ending: Collection[str] = ()
) -> list[tuple[str, str | None]]:
    """The labels to write: off the loser first, then on the winner.

    The loser gets none, not `replica`: nobody knows whether it can serve reads. If it lives, its own Patroni labels it
    again. A loser whose pod is `ending` comes after the winner: it has stopped its server and refuses whoever still
    comes, who then asks again; kube-proxy may wait for a second between two changes, in which nobody would be there.
    """
    losers = [pod for pod, role in role_of.items() if role == "primary" and pod != winner]
    off: list[tuple[str, str | None]] = [(pod, None) for pod in losers if pod not in ending]
    late: list[tuple[str, str | None]] = [(pod, None) for pod in losers if pod in ending]
    return [*off, *([] if role_of.get(winner) == "primary" else [(winner, "primary")]), *late]


def holds_lock(scope: str, pod: str) -> bool:
    """Whether this pod is still leader: a late try must not undo the next failover."""
    annotations = call("GET", f"configmaps/{scope}-leader")["metadata"].get("annotations", {})
    return bool(annotations.get("leader") == pod)


def take(scope: str, pod: str) -> None:
    """One try: raises OSError when the API server does not answer, or did not take every label.

    A member that is being scaled away can no longer be labelled; the winner must not wait until its pod is gone.
    """
    if not holds_lock(scope, pod):
        return
    query = urllib.parse.urlencode({"labelSelector": f"{SCOPE_LABEL}={scope}"})
    pods = call("GET", f"pods?{query}")["items"]
    role_of = {item["metadata"]["name"]: item["metadata"].get("labels", {}).get(ROLE_LABEL) for item in pods}
    ending = [item["metadata"]["name"] for item in pods if item["metadata"].get("deletionTimestamp")]
    failure: OSError | None = None
    for name, role in changes(pod, role_of, ending):
        try:
            call("PATCH", f"pods/{name}", {"metadata": {"labels": {ROLE_LABEL: role}}})
        except OSError as error:
            failure = failure or error
        else:
            print(f"role of {name}: {role}")
    if failure is not None:
        raise failure


def main() -> None:
    """Try until it is done or no longer worth it."""
    _, role, scope = sys.argv[1:4]
    deadline, said = time.monotonic() + TRY_SECONDS, ""
    while role == "primary" and time.monotonic() < deadline:
        try:
            take(scope, os.environ["POD_NAME"])
        except OSError as error:
            if str(error) != said:
                said = str(error)
                print(f"the API server did not take the role label, trying on: {said}", file=sys.stderr)
            time.sleep(0.5)
        else:
            return


if __name__ == "__main__":
    main()

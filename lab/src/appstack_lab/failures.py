"""Failures a person can act on: what went wrong, which log says more, what probably caused it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab import paths

if TYPE_CHECKING:
    from collections.abc import Sequence

TAIL_LINES = 15
LOG_NAMED, CAUSE_NAMED = " failed. Log: ", "probable cause: "  # in a failure that has a log

# The first phrase that stands in the end of a log names the cause.
CAUSES = (
    # kubectl and helm, before the words that their messages share with those of a download.
    ("was refused - did you specify", "no API server answers where the kubeconfig says: does the cluster run?"),
    ("Unable to connect to the server", "the API server of the kubeconfig is out of reach: does the cluster run?"),
    ("Kubernetes cluster unreachable", "the API server of the kubeconfig is out of reach: does the cluster run?"),
    (
        "another operation (install/upgrade/rollback)",
        "another make up is at work here, or was killed: repeat in a minute",
    ),
    ("(Forbidden)", "the kubeconfig's account may not do this: it must be able to make CRDs and cluster roles"),
    ("You must be logged in to the server", "the cluster no longer knows the kubeconfig's credentials"),
    ("No space left on device", "the disk is full: free some space, or set APPSTACK_CACHE to another disk"),
    ("Temporary failure resolving", "a package mirror could not be resolved: is the network up?"),
    ("Could not resolve", "a host name could not be resolved: is the network up?"),
    ("dial tcp", "a download failed: is the network up, and a module proxy reachable?"),
    ("disabled by GOPROXY", "GOPROXY forbids downloads of Go modules: let it name a module proxy"),
    ("checksum mismatch", "a Go module is not the one go.sum names: try another GOPROXY, or go clean -modcache"),
    ("/@v/", "the Go module proxy did not deliver a module: repeat, or let GOPROXY name another"),
    ("DO NOT MATCH THE HASHES", "the package index delivered another file than the lock names: repeat, or use another"),
    ("Read timed out", "a download stood still: repeat, or use a package index that is nearer"),
    ("certificate signed by unknown authority", "this machine needs its own CA: set SSL_CERT_FILE to it"),
    ("CERTIFICATE_VERIFY_FAILED", "this machine needs its own CA: set SSL_CERT_FILE to it"),
    ("x509:", "a certificate was not accepted: clock wrong, or SSL_CERT_FILE needed?"),
    ("toolchain not available", "the installed Go is too old"),
    ("missing go.sum entry", "go.mod and go.sum do not fit together: run go mod tidy in that module"),
    ("signal: killed", "the compiler was killed: probably too little memory (2 GiB are needed)"),
    ("Unable to locate package", "the package lists are old or the Debian release lacks the package"),
    ("no installation candidate", "the package lists are old or the Debian release lacks the package"),
    ("' was not found", "Debian's archive no longer has that version of the package: ask for the one it has"),
    ("404  Not Found", "Debian's mirror lacks what apt's lists or sources name: run apt-get update, or use another"),
    ("Failed to fetch", "Debian's mirror did not deliver: is the network up, and are apt's sources right?"),
    ("No matching distribution found", "the package index is out of reach, or lacks a version that the lock names"),
    ("NO_PUBKEY", "the keys of Debian's archive are unknown: upgrade the package debian-archive-keyring"),
    ("Could not get lock", "another package manager is running: wait for it and repeat"),
    ("address already in use", "another program holds the address: lab get clusters, then lab delete cluster"),
    ("Cannot connect to the Docker daemon", "Docker does not run: start it, or build without --builder docker"),
    ("permission denied while trying to connect to the", "this user may not use Docker: join its group, or be root"),
    ("Operation not permitted", "this needs root and a kernel that allows namespaces and mounts"),
    ("Permission denied", "this needs root"),
)


class LabError(Exception):
    """The lab cannot go on; the text is for the person who called it."""


def probable_cause(text: str) -> str | None:
    """Return what the last lines of a log hint at, or None."""
    return next((cause for phrase, cause in CAUSES if phrase in text), None)


def failure_with_log(what: str, log: Path) -> LabError:
    """Build the error for a failed step: its log's path, its last lines and the probable cause."""
    lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:] if log.exists() else []
    tail = "\n".join(f"    {line}" for line in lines) or "    (empty)"
    text = f"{what}{LOG_NAMED}{log}\n  last lines:\n{tail}"
    cause = probable_cause(tail)
    return LabError(f"{text}\n  {CAUSE_NAMED}{cause}" if cause else text)


def failure_of(command: Sequence[str], code: int, complaint: str) -> LabError:
    """Build the error for a command that failed: what it said, and the probable cause where that is known."""
    said = complaint.strip()[-2000:]
    cause = probable_cause(said)
    text = f"{' '.join(command)} failed ({code}): {said}"
    return LabError(f"{text}\n  {CAUSE_NAMED}{cause}" if cause else text)


def of_the_disk(error: OSError) -> str:
    """Return what a person can do about a disk or a cache that cannot be used.

    Every other error is raised again: a mistake of ours, whose traceback is what helps.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full: free some space ({error}). Clusters lie in {paths.STATE}; "
            f"programs and images in {paths.cache()}, which APPSTACK_CACHE moves to another disk"
        )
    place = error.filename if isinstance(error.filename, str) else ""
    if Path(place).is_relative_to(paths.cache()):
        return f"the cache {paths.cache()} cannot be used: set APPSTACK_CACHE to a directory that can ({error})"
    if isinstance(error, PermissionError) and Path(place).is_relative_to(paths.SOURCES / "build"):
        return f"another user made build/ in this tree: let `make clean` remove it as that user, often root ({error})"
    raise error

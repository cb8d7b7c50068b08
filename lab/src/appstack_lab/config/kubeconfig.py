"""Kubeconfig documents: one per client, and merging ours into a person's own file. Pure."""

from __future__ import annotations

import base64
from typing import Any

LISTS = ("clusters", "contexts", "users")


def context_name(cluster_name: str) -> str:
    """Name the context as kind does."""
    return f"kind-{cluster_name}"


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def build_kubeconfig(name: str, server: str, authority: bytes, certificate: bytes, key: bytes) -> dict[str, Any]:
    """Build a kubeconfig with one cluster, one user and one context, all of the same name."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": encoded(authority)}}],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": encoded(certificate),
                    "client-key-data": encoded(key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }


def merge_kubeconfig(existing: dict[str, Any] | None, ours: dict[str, Any]) -> dict[str, Any]:
    """Put our entries into a kubeconfig and make them current; the others stay."""
    merged = dict(existing or {"apiVersion": "v1", "kind": "Config", "preferences": {}})
    for key in LISTS:
        names = {entry["name"] for entry in ours[key]}
        kept = [entry for entry in merged.get(key) or [] if entry["name"] not in names]
        merged[key] = kept + ours[key]
    merged["current-context"] = ours["current-context"]
    return merged


def remove_from_kubeconfig(existing: dict[str, Any], name: str) -> dict[str, Any]:
    """Take the entries of that name out of a kubeconfig."""
    left = dict(existing)
    for key in LISTS:
        left[key] = [entry for entry in existing.get(key) or [] if entry["name"] != name]
    if left.get("current-context") == name:
        left["current-context"] = ""
    return left

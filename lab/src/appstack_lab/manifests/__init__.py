"""Builds the objects that a cluster starts with: name service, storage, metrics, permissions. Pure."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def build_account_binding(name: str, role: str, user: str) -> Object:
    """Give a cluster role to a user."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }


def build_role(name: str, rules: list[tuple[list[str], list[str], list[str]]]) -> Object:
    """Build a cluster role from (groups, resources, verbs)."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [{"apiGroups": groups, "resources": resources, "verbs": verbs} for groups, resources, verbs in rules],
    }


def build_account(name: str, namespace: str) -> Object:
    """Build a service account."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": namespace},
    }


def build_config(name: str, namespace: str, data: dict[str, str]) -> Object:
    """Build a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }

"""The chart grants what the operator does and no more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from appstack_operator.desired.stack import build_stack
from appstack_operator.kinds import CHILDREN, EVENT, STACK
from appstack_operator.main import placeholder_context
from tests.unit.operator.factories import a_stack

if TYPE_CHECKING:
    from collections.abc import Iterable

CHART = Path(__file__).resolve().parents[3] / "charts" / "appstack-operator"
HELPERS = CHART / "templates" / "_helpers.tpl"
# What other code than the plan does: the end of a stack, restarts of pods.
DELETED_BESIDES = {"persistentvolumeclaims", "pods", "statefulsets"}


# For moves of pods, and only where the operator minds all namespaces.
USED_BY_MOVES = {("/nodes", "list"), ("/pods/eviction", "create")}


def operator_rules(name: str = "rules") -> list[dict[str, Any]]:
    """The rules of the template, those that a value may leave out included; nothing else in them is templated."""
    text = HELPERS.read_text().partition(f'define "operator.{name}" -}}}}')[2].partition("{{- define")[0]
    return list(yaml.safe_load("\n".join(line for line in text.splitlines() if not line.startswith("{{"))))


def pairs(rules: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
    """Each right as (group/resource, verb)."""
    return {
        (f"{group}/{resource}", verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def granted_rules() -> list[dict[str, Any]]:
    """What the Roles of a stack give to Patroni and to the Sentinels: nobody may grant what he does not hold."""
    manifests = [item.manifest for item in build_stack(a_stack(), placeholder_context(a_stack()))]
    return [rule for manifest in manifests if manifest["kind"] == "Role" for rule in manifest["rules"]]


def used() -> set[tuple[str, str]]:
    """What the code does, kind by kind."""
    stacks = f"{STACK.group}/{STACK.plural}"
    rights = {
        *((stacks, verb) for verb in ("get", "list", "watch", "patch")),  # kopf patches its finalizer in
        (f"{stacks}/status", "patch"),
        (f"{stacks}/finalizers", "update"),  # to be the owner whose deletion children block
        (f"{EVENT.group}/{EVENT.plural}", "create"),
        (f"{EVENT.group}/{EVENT.plural}", "list"),  # those about a claim without a volume
        ("/pods/status", "patch"),  # of pods on a node that falls silent
    }
    for kind in CHILDREN:
        verbs = {"list"} if kind.is_optional else {"list", "watch"}
        if kind.is_made:
            verbs |= {"get", "create", "patch"}
        if kind.is_pruned or kind.plural in DELETED_BESIDES:
            verbs.add("delete")
        if kind.plural == "persistentvolumeclaims":
            verbs.add("patch")  # their growth
        rights |= {(f"{kind.group}/{kind.plural}", verb) for verb in verbs}
    return rights


def test_the_operator_holds_the_rights_that_it_uses_and_grants() -> None:
    assert pairs(operator_rules()) >= used() | pairs(granted_rules())


def test_the_operator_holds_no_other_right() -> None:
    assert pairs(operator_rules()) <= used() | pairs(granted_rules())


def test_pods_may_be_marked_only_where_they_are_to_be() -> None:
    (block,) = re.findall(r"{{- if .Values.marksSilentPods }}\n(.*?){{- end }}", HELPERS.read_text(), re.DOTALL)
    assert pairs(yaml.safe_load(block)) == {("/pods/status", "patch")}


def test_what_moves_need_is_granted_for_the_whole_cluster_alone() -> None:
    assert pairs(operator_rules("clusterRules")) == USED_BY_MOVES
    in_namespaces, _, everywhere = (CHART / "templates" / "rbac.yaml").read_text().partition("{{- else }}")
    assert "operator.clusterRules" in everywhere
    assert "operator.clusterRules" not in in_namespaces


def test_no_image_has_a_default_that_nobody_publishes() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values["images"].values()) == {""}

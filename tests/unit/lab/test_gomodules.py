"""The committed Go modules are those that the lab means to build."""

from __future__ import annotations

import re

import pytest

from appstack_lab import paths
from appstack_lab.binaries import groups_of, key_of
from appstack_lab.failures import LabError
from appstack_lab.gomodules import GROUPS, Group, build_flags, build_go_mod

FETCHED = [group for group in GROUPS if group.module]


def directives(text: str, word: str) -> set[str]:
    """Collect a directive's arguments, from single lines and from blocks, without comments."""
    blocks = re.findall(rf"^{word} \(\n(.*?)^\)", text, re.MULTILINE | re.DOTALL)
    singles = re.findall(rf"^{word} ([^(\n]+)$", text, re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()] + singles
    return {line.split("//")[0].strip() for line in lines if line.strip()}


@pytest.mark.parametrize("group", FETCHED, ids=lambda group: group.name)
def test_the_committed_module_holds_what_the_table_says(group: Group) -> None:
    committed = (paths.GO_MODULES / group.name / "go.mod").read_text()
    wanted = build_go_mod(group)
    for word in ("require", "replace", "tool", "godebug"):
        assert directives(wanted, word) <= directives(committed, word)


@pytest.mark.parametrize("group", FETCHED, ids=lambda group: group.name)
def test_every_build_is_pinned_by_checksums(group: Group) -> None:
    sums = (paths.GO_MODULES / group.name / "go.sum").read_text()
    assert f"{group.module} {group.version} h1:" in sums


def test_kubernetes_tells_its_version() -> None:
    linker = build_flags(groups_of(["kubelet"])[0])[-1]
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.4" in linker
    assert "-X k8s.io/component-base/version.gitMinor=36" in linker


def test_a_build_never_changes_its_module() -> None:
    assert all("-mod=readonly" in build_flags(group) for group in GROUPS)


def test_a_program_is_found_by_its_own_name_or_its_groups() -> None:
    assert groups_of(["kubectl", "kubernetes", "helm"]) == groups_of(["kubernetes", "helm"])


@pytest.mark.parametrize(("program", "group"), [("kwok", "kwok"), ("gitops-health", "gitops")])
def test_what_only_tests_and_benchmarks_need_is_built_only_when_asked_for(program: str, group: str) -> None:
    assert group not in [each.name for each in groups_of([])]
    assert [each.name for each in groups_of([program])] == [group]


def test_an_unknown_program_is_answered_with_the_known_ones() -> None:
    with pytest.raises(LabError, match="kubectl"):
        groups_of(["kubctl"])


def test_programs_of_different_groups_lie_apart() -> None:
    assert len({key_of(group) for group in GROUPS}) == len(GROUPS)

"""Names of all children of any valid stack: never two of a kind alike, never longer than Kubernetes takes."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from appstack_operator.api import AppStack
from appstack_operator.desired.stack import build_stack
from appstack_operator.kinds import BY_NAME
from appstack_operator.main import placeholder_context
from tests.specs import Spec, specs

if TYPE_CHECKING:
    from appstack_operator.objects import Object

STACK_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,28}[a-z0-9])?", fullmatch=True)
LONGEST_STACK = "a" * 30
LONGEST_NAME = 63  # a DNS label: Services, and pods through their hostnames
# What a controller adds to the name of a CronJob's Jobs: a dash and ten digits.
LONGEST_CRON_JOB = 52
# A StatefulSet's pods have its name, a dash and a number; a label holds its name, a dash and ten letters.
LONGEST_STATEFUL_SET = 52
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def manifests_of(name: str, spec: Spec) -> list[Object]:
    """All children of a stack."""
    stack = AppStack.model_validate({"metadata": {"name": name, "namespace": "shop", "uid": "1"}, "spec": spec})
    return [item.manifest for item in build_stack(stack, placeholder_context(stack))]


def labels_in(value: Any) -> list[str]:
    """The values of all labels and selectors in a manifest."""
    if isinstance(value, list):
        return [label for item in value for label in labels_in(item)]
    if not isinstance(value, dict):
        return []
    own = [*value.get("labels", {}).values(), *value.get("matchLabels", {}).values()]
    return [*own, *(label for item in value.values() for label in labels_in(item))]


@settings(deadline=None)
@given(name=STACK_NAMES | st.just(LONGEST_STACK), spec=specs())
def test_names_never_collide_or_pass_their_limits(name: str, spec: Spec) -> None:
    manifests = manifests_of(name, spec)
    counts = Counter((manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests)
    assert [ref for ref, count in counts.items() if count > 1] == []
    limits = {"CronJob": LONGEST_CRON_JOB, "StatefulSet": LONGEST_STATEFUL_SET}
    assert [ref for ref in counts if len(ref[1]) > limits.get(ref[0], LONGEST_NAME)] == []
    assert [label for label in labels_in(manifests) if not LABEL_VALUE.fullmatch(label)] == []
    assert {kind for kind, _ in counts} <= BY_NAME.keys()


def test_the_longest_names_fit() -> None:
    spec = {
        "backend": {"workers": [{"name": "w" * 24, "queues": ["bulk"]}]},
        "cronJobs": [{"name": "c" * 21, "schedule": "@daily"}],
    }
    names = [manifest["metadata"]["name"] for manifest in manifests_of(LONGEST_STACK, spec)]
    assert f"{LONGEST_STACK}-worker-{'w' * 24}" in names
    assert max(map(len, names)) == 62


@settings(deadline=None)
@given(spec=specs())
def test_the_same_spec_always_gives_the_same_objects(spec: Spec) -> None:
    assert manifests_of("shop", spec) == manifests_of("shop", spec)

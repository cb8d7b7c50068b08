"""Hashes stay the same from one version of the operator to the next (another one is a write); owners are told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appstack_operator.objects import ENCODER, content_hash, in_order, is_of_former_stack, owner_reference
from tests.unit.operator.factories import a_stack

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | TEXT
CONTENT = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


@given(CONTENT)
def test_the_faster_encoder_writes_what_the_former_one_wrote(content: object) -> None:
    assert in_order(content) == ENCODER.encode(content).encode()


def test_the_hash_of_known_content_is_known() -> None:
    content = {"b": [1, None, True, "ü"], "a": {"z": "", "y": 2**70}}
    assert content_hash(content) == content_hash(dict(reversed(content.items())))
    assert content_hash({"b": [1, None, True, "ü"], "a": {}}) == "b12a3552134b92ab"


@pytest.mark.parametrize(
    ("change", "is_left"),
    [
        pytest.param({"uid": "another"}, True, id="of a former stack of this name"),
        pytest.param({}, False, id="our own"),
        pytest.param({"uid": "another", "name": "other"}, False, id="of another stack"),
        pytest.param({"uid": "another", "kind": "StatefulSet"}, False, id="of something of this name"),
        pytest.param({"uid": "another", "apiVersion": "example.com/v1"}, False, id="of somebody else's AppStack"),
    ],
)
def test_what_a_former_stack_left_is_known_by_its_owner(change: dict[str, str], is_left: bool) -> None:
    owners = [{**owner_reference(a_stack()), **change}]
    assert is_of_former_stack(a_stack(), {"metadata": {"ownerReferences": owners}}) is is_left

"""A hash of content must stay the same from one version of the operator to the next: another one is a write."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appstack_operator.objects import ENCODER, content_hash, in_order

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

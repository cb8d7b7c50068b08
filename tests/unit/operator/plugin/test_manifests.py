"""What people hand to the command by mistake is an error with a sentence, whatever its shape."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import pytest

from appstack_operator.plugin.cluster import connect
from appstack_operator.plugin.errors import UserError
from appstack_operator.plugin.manifests import read_stacks

if TYPE_CHECKING:
    from pathlib import Path

STACK = "{apiVersion: appstack.dev/v1alpha1, kind: AppStack, metadata: {name: shop}}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[1, 2]", id="a list"),
        pytest.param("kind: List\nitems: [1]", id="a list of no objects"),
        pytest.param("kind: List\nitems: 3", id="no list"),
        pytest.param("kind: List\nitems: [{a: b}]", id="no kind"),
    ],
)
def test_what_is_no_object_is_said_to_be_none(text: str) -> None:
    with pytest.raises(UserError, match="standard input: not a Kubernetes object"):
        read_stacks(["-"], StringIO(text))


def test_lists_are_taken_apart_and_what_is_not_looked_at_is_named() -> None:
    others = "{kind: ConfigMap, metadata: settings}, {kind: Secret, metadata: {name: words}}"
    text = f"kind: List\nitems: [{others}, {{kind: List, items: [{STACK}]}}]"
    stacks, left = read_stacks(["-"], StringIO(text))
    assert [each["metadata"]["name"] for each in stacks] == ["shop"]
    assert left == ["ConfigMap", "Secret words"]


def test_a_spec_of_comments_alone_is_an_empty_one() -> None:
    """So `kubectl apply` takes it, too."""
    without, _ = read_stacks(["-"], StringIO(STACK))
    assert read_stacks(["-"], StringIO(f"{STACK[:-1]}, spec: null}}")) == (without, [])


@pytest.mark.parametrize("text", ["", "a: [1", "just words", "[1]", "contexts: 1\ncurrent-context: a\nclusters: 2"])
async def test_what_is_no_kubeconfig_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(UserError, match=f"kubeconfig {path}: "):
        await connect(str(path), None)

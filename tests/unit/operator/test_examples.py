"""Every example is a valid AppStack that becomes objects."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from appstack_operator.api import AppStack
from appstack_operator.desired.stack import build_stack
from appstack_operator.main import placeholder_context

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "examples").glob("*.yaml"))
KNOWN = {"Secret", "AppStack"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_becomes_objects(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    assert {document["kind"] for document in documents} <= KNOWN
    stacks = [AppStack.model_validate(document) for document in documents if document["kind"] == "AppStack"]
    assert stacks
    for stack in stacks:
        assert build_stack(stack, placeholder_context(stack))


def test_the_minimal_example_is_an_empty_spec() -> None:
    minimal = next(path for path in EXAMPLES if path.stem == "minimal")
    assert yaml.safe_load(minimal.read_text())["spec"] == {}

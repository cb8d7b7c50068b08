"""The CRD is what the models say, and what the API server accepts as a structural schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.api.crd import build_crd, build_schema, render_crd
from appstack_operator.api.reference import render_reference

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[4]
CRD = "appstacks.appstack.dev.yaml"


@pytest.mark.parametrize("place", ["crds", "charts/appstack-operator/crds"])
def test_the_committed_crd_is_current(place: str) -> None:
    assert (ROOT / place / CRD).read_text() == render_crd(), "run `make generate`"


def test_the_committed_reference_is_current() -> None:
    assert (ROOT / "docs" / "appstack.md").read_text() == render_reference(), "run `make generate`"


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema, with its path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from parts(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from parts(schema[key], f"{path}[]")


ALL = list(parts(build_schema()))


def test_the_schema_is_structural() -> None:
    forbidden = {"$ref", "$defs", "title", "anyOf", "oneOf", "allOf", "const"}
    assert [path for path, part in ALL if forbidden & part.keys()] == []
    assert [path for path, part in ALL if part.get("default", "") is None] == []


def test_every_field_has_a_type() -> None:
    typeless = [path for path, part in ALL if "type" not in part and not part.get("x-kubernetes-int-or-string")]
    assert typeless == []


def test_every_field_of_the_spec_is_described() -> None:
    fields = [path for path, part in ALL if path.startswith(".spec") and not path.endswith("[]")]
    described = {path for path, part in ALL if part.get("description")}
    assert [path for path in fields if path not in described] == []


def test_every_list_and_text_of_the_spec_has_an_upper_limit() -> None:
    limits = {"array": "maxItems", "string": "maxLength"}
    unlimited = [
        path
        for path, part in ALL
        if path.startswith(".spec")
        and (limit := limits.get(part.get("type", "")))
        and not {limit, "enum"} & part.keys()
    ]
    assert unlimited == []


def test_defaults_of_parents_are_empty_so_that_those_of_their_parts_apply() -> None:
    parents = [(path, part) for path, part in ALL if "properties" in part and "default" in part]
    assert parents
    assert [path for path, part in parents if part["default"] != {}] == []


def test_a_stack_that_nobody_has_looked_at_says_so() -> None:
    status = build_schema()["properties"]["status"]
    assert status["default"] == {}, "the API server fills in the defaults of the parts"
    assert status["properties"]["observedGeneration"]["default"] == 0


def test_the_columns_are_those_that_people_know() -> None:
    columns = build_crd()["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [column["name"] for column in columns if not column.get("priority")]
    assert shown == ["Ready", "HA", "Reason", "Primary", "API", "Workers", "Age"]

"""What differs between two manifests, as a reader of a plan sees it."""

from __future__ import annotations

from typing import Any

import pytest

from appstack_operator.ownership import HASH
from appstack_operator.plugin.differences import ABSENT, Difference, compare_manifests, shaped


def config_map(**data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def pod(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": list(containers)}}


@pytest.mark.parametrize(
    ("before", "after", "differences"),
    [
        pytest.param(config_map(a="1"), config_map(a="1"), [], id="nothing"),
        pytest.param(config_map(a="1"), config_map(a="2"), [("data.a", "1", "2")], id="a value"),
        pytest.param(config_map(), config_map(a="1"), [("data.a", ABSENT, "1")], id="more"),
        pytest.param(config_map(a="1"), config_map(), [("data.a", "1", ABSENT)], id="less"),
        pytest.param(
            config_map(**{"x.yml": "1"}),
            config_map(**{"x.yml": "2"}),
            [('data["x.yml"]', "1", "2")],
            id="a key with a dot",
        ),
        pytest.param(
            pod({"name": "a", "image": "1"}, {"name": "b", "image": "1"}),
            pod({"name": "b", "image": "2"}, {"name": "a", "image": "1"}),
            [("spec.containers[b].image", "1", "2")],
            id="items are known by name, not by place",
        ),
        pytest.param(
            config_map(config='{"a": {"b": 1}}'),
            config_map(config='{"a": {"b": 2}}'),
            [("data.config.a.b", 1, 2)],
            id="inside of JSON",
        ),
        pytest.param({"kind": "A", "v": 0}, {"kind": "A", "v": False}, [], id="equal values of other types"),
        pytest.param({"kind": "A", "v": [1]}, {"kind": "A", "v": [2]}, [("v", [1], [2])], id="plain lists as a whole"),
    ],
)
def test_a_difference_names_its_path(before: Any, after: Any, differences: list[tuple[str, Any, Any]]) -> None:
    assert compare_manifests(before, after) == [Difference(*each) for each in differences]


def test_values_of_secrets_are_never_part_of_a_difference() -> None:
    before = {"kind": "Secret", "metadata": {"name": "a"}, "data": {"changed": "b2xk", "gone": "b2xk"}}
    after = {"kind": "Secret", "metadata": {"name": "a"}, "data": {"changed": "bmV3", "added": "bmV3"}}
    found = compare_manifests(before, after)
    assert [each.path for each in found] == ["data.added", "data.changed", "data.gone"]
    assert not any(word in repr(found) for word in ("b2xk", "bmV3"))
    assert found[1].before != found[1].after


def test_a_secret_that_gets_its_first_data_shows_none_of_it() -> None:
    after = {"kind": "Secret", "metadata": {"name": "a"}, "data": {"added": "bmV3"}}
    assert "bmV3" not in repr(compare_manifests({"kind": "Secret", "metadata": {}}, after))


def test_stamps_do_not_count() -> None:
    before, after = ({"kind": "A", "metadata": {"annotations": {HASH: value}}} for value in "ab")
    assert compare_manifests(before, after) == []


def test_what_the_api_server_filled_in_is_left_out() -> None:
    live = pod({"name": "a", "image": "1", "terminationMessagePath": "/dev/termination-log"}, {"name": "sidecar"})
    wanted = pod({"name": "a", "image": "2"})
    assert compare_manifests(shaped(live, wanted), wanted) == [Difference("spec.containers[a].image", "1", "2")]

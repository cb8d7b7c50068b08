"""Somebody else writes to an object between the operator's look at it and its own write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from appstack_operator.apply import change_of, own_by_apply
from appstack_operator.client import ApiError
from appstack_operator.kinds import Ref
from appstack_operator.ownership import entry_of_ours
from tests.apiserver.kit.stage import staging

if TYPE_CHECKING:
    from appstack_operator.client import Api
    from tests.apiserver.kit.life import World


async def test_who_was_faster_is_a_conflict_and_no_refusal(world: World, api: Api) -> None:
    """Controllers write all the time while a rollout goes on: the next pass tries again, and nobody has to act."""
    async with staging(world, api, "races") as stage:
        ref = Ref("ConfigMap", stage.namespace, "ours")
        made: dict[str, object] = {"apiVersion": "v1", "kind": ref.kind, "data": {"a": "1"}}
        seen = await api.create({**made, "metadata": {"name": ref.name, "namespace": ref.namespace}})
        await stage.change("ConfigMap", "ours", {"data": {"theirs": "2"}})
        with pytest.raises(ApiError) as refused:
            await own_by_apply(ref, seen, api)
        assert refused.value.is_conflict
        assert refused.value.is_passing

        now = await stage.get("ConfigMap", "ours")
        await own_by_apply(ref, now, api)
        after = await stage.get("ConfigMap", "ours")
        entry = entry_of_ours(after)
        assert entry is not None
        assert (entry["operation"], entry["fieldsV1"]) == ("Apply", {"f:data": {".": {}, "f:a": {}}})
        assert after["data"] == {"a": "1", "theirs": "2"}
        others = [each for each in after["metadata"]["managedFields"] if each != entry]
        assert others == [each for each in now["metadata"]["managedFields"] if each["manager"] != entry["manager"]]


async def test_an_object_that_was_made_anew_is_no_refusal(world: World, api: Api) -> None:
    """A patch names the object that was seen: to the API server that is a new uid for the present one, and 422."""
    async with staging(world, api, "races-anew") as stage:
        ref = Ref("ConfigMap", stage.namespace, "ours")
        made: dict[str, object] = {"apiVersion": "v1", "kind": ref.kind, "data": {"a": "1"}}
        meta = {"name": ref.name, "namespace": ref.namespace}
        seen = await api.create({**made, "metadata": meta})
        await api.delete(ref)
        change = change_of({"data": {"a": "2"}}, seen["metadata"]["uid"])
        with pytest.raises(ApiError) as refused:
            await api.patch(ref, change)
        assert refused.value.status == 404

        await api.create({**made, "metadata": meta})
        with pytest.raises(ApiError) as refused:
            await api.patch(ref, change)
        assert refused.value.status == 422
        assert refused.value.is_passing
        with pytest.raises(ApiError) as refused:
            await api.apply({**made, "data": {"a": "2"}, "metadata": {**meta, "uid": seen["metadata"]["uid"]}})
        assert refused.value.is_passing
        assert (await stage.get("ConfigMap", "ours"))["data"] == {"a": "1"}

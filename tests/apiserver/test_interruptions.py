"""Whenever the operator is killed, the next one ends where an undisturbed one would have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.apiserver.kit.life import MANAGED_SPEC, SPEC, Life, World, living
from tests.apiserver.kit.phases import PHASES, begun, lived_up_to
from tests.apiserver.kit.snapshot import differences, take_snapshot

if TYPE_CHECKING:
    from tests.apiserver.kit.phases import Phase

SILENCE_SECONDS = 8


def of_objects(writes: list[str]) -> set[str]:
    """The writes that do not only tell how things are: how often that is told depends on the pace."""
    return {write.partition("/namespaces/")[2].partition("/")[2] for write in writes if not is_report(write)}


def is_report(write: str) -> bool:
    return write.endswith(("/events", "/status"))


@pytest.mark.parametrize("phase", PHASES)
async def test_an_operator_killed_after_every_write_still_arrives(
    life: Life, reference: dict[str, Phase], phase: str
) -> None:
    await lived_up_to(life, phase)
    writes = await life.killed_after_each_write(await begun(life, phase))
    assert list(differences(reference[phase].objects, await take_snapshot(life.cast))) == []
    assert of_objects(writes) == of_objects(reference[phase].writes), "each write was the last one of some operator"


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("phase", PHASES)
async def test_one_kill_at_any_write_changes_nothing(world: World, reference: dict[str, Phase], phase: str) -> None:
    for writes in range(1, len(reference[phase].writes) + 1):
        async with living(world, f"one-kill-{phase}-{writes}", MANAGED_SPEC) as life:
            await lived_up_to(life, phase)
            is_done = await begun(life, phase)
            if await life.killed_after(writes, is_done):
                await life.undisturbed(is_done)
            found = list(differences(reference[phase].objects, await take_snapshot(life.cast)))
            assert found == [], f"killed after write {writes}"


@pytest.mark.parametrize("spec", [MANAGED_SPEC, SPEC], ids=["managed", "external"])
async def test_a_restarted_operator_writes_nothing_where_nothing_changed(life: Life, spec: dict[str, Any]) -> None:
    life.spec = spec
    assert await life.undisturbed(await begun(life, "creation")) != []
    life.proxy.clear()
    life.operator.start()
    await life.settle(life.is_ready)
    await asyncio.sleep(SILENCE_SECONDS)
    assert life.proxy.passes > 0
    assert life.proxy.writes == []

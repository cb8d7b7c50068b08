"""Whenever the operator is killed, the next one ends where an undisturbed one would have."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.kit.life import Life, living
from tests.apiserver.kit.snapshot import differences, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.apiserver.kit.proxy import FaultProxy
    from tests.apiserver.kit.server import BareCluster

PHASES = ("creation", "update", "deletion")
SILENCE_SECONDS = 8


@dataclass(frozen=True, slots=True)
class Phase:
    """How an undisturbed operator ended a phase of a stack's life."""

    writes: list[str]
    objects: dict[str, str]


@pytest.fixture(scope="session")
async def reference(cluster: BareCluster, proxy: FaultProxy, folder: Path) -> dict[str, Phase]:
    """Creation, update and deletion without a disturbance."""
    phases = {}
    async with living(cluster, proxy, "undisturbed", folder) as life:
        for name in PHASES:
            writes = await life.undisturbed(await begun(life, name))
            phases[name] = Phase(writes, await take_snapshot(life.cast))
    return phases


async def begun(life: Life, phase: str) -> Callable[[], Awaitable[bool]]:
    """Ask for what begins a phase; how to see that it is over."""
    await {"creation": life.create, "update": life.update, "deletion": life.delete}[phase]()
    return life.is_gone if phase == "deletion" else life.is_ready


async def lived_up_to(life: Life, phase: str) -> None:
    """Let the phases before it pass without a disturbance."""
    for earlier in PHASES[: PHASES.index(phase)]:
        await life.undisturbed(await begun(life, earlier))


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
async def test_one_kill_at_any_write_changes_nothing(
    cluster: BareCluster, proxy: FaultProxy, folder: Path, reference: dict[str, Phase], phase: str
) -> None:
    for writes in range(1, len(reference[phase].writes) + 1):
        async with living(cluster, proxy, f"one-kill-{phase}-{writes}", folder) as life:
            await lived_up_to(life, phase)
            is_done = await begun(life, phase)
            if await life.killed_after(writes, is_done):
                await life.undisturbed(is_done)
            found = list(differences(reference[phase].objects, await take_snapshot(life.cast)))
            assert found == [], f"killed after write {writes}"


async def test_a_restarted_operator_writes_nothing_where_nothing_changed(life: Life, proxy: FaultProxy) -> None:
    assert await life.undisturbed(await begun(life, "creation")) != []
    proxy.clear()
    life.operator.start()
    await life.settle(life.is_ready)
    await asyncio.sleep(SILENCE_SECONDS)
    assert proxy.passes > 0
    assert proxy.writes == []

"""The phases of a stack's life, and how each of them ends where nothing disturbs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.apiserver.kit.life import MANAGED_SPEC, World, living
from tests.apiserver.kit.snapshot import take_snapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.apiserver.kit.life import Life

PHASES = ("creation", "update", "deletion")


@dataclass(frozen=True, slots=True)
class Phase:
    """How an undisturbed operator ended a phase of a stack's life."""

    writes: list[str]
    objects: dict[str, str]


async def undisturbed_phases(world: World) -> dict[str, Phase]:
    """Creation, update and deletion without a disturbance."""
    phases = {}
    async with living(world, "undisturbed", MANAGED_SPEC) as life:
        for name in PHASES:
            writes = await life.undisturbed(await begun(life, name))
            phases[name] = Phase(writes, await take_snapshot(life.cast))
    return phases


async def begun(life: Life, phase: str) -> Callable[[], Awaitable[bool]]:
    """Ask for what begins a phase; how to see that it is over."""
    await {"creation": life.create, "update": life.update, "deletion": life.delete}[phase]()
    return life.has_ended if phase == "deletion" else life.is_ready


async def lived_up_to(life: Life, phase: str) -> None:
    """Let the phases before it pass without a disturbance."""
    for earlier in PHASES[: PHASES.index(phase)]:
        await life.undisturbed(await begun(life, earlier))

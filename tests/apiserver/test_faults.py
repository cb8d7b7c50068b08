"""Whatever goes wrong between the operator and the API server, the end is that of an undisturbed run."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.kit.faults import FAULTS, Fault, Trouble, answer_too_late
from tests.apiserver.kit.life import MANAGED_SPEC, World, living
from tests.apiserver.kit.phases import PHASES, begun
from tests.apiserver.kit.snapshot import differences, passwords, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.apiserver.kit.life import Life
    from tests.apiserver.kit.phases import Phase

SHARE = 0.25
BUDGET = 12  # faults in each phase
FEW = 4  # of those that each hold the operator up until its own deadline


async def lives_through(
    world: World,
    reference: dict[str, Phase],
    namespace: str,
    faults: Sequence[Fault],
    seed: int,
    budget: int = BUDGET,
) -> None:
    """One operator brings a stack through all phases of its life, in one piece, whatever the API server does."""
    die = random.Random(seed)
    async with living(world, namespace, MANAGED_SPEC) as life:
        life.operator.start()
        made: dict[str, object] = {}
        for phase in PHASES:
            await pass_through(life, phase, Trouble(faults, die, SHARE, budget))
            found = list(differences(reference[phase].objects, await take_snapshot(life.cast)))
            assert found == [], f"{namespace}, seed {seed}: {phase} ended otherwise"
            now = await passwords(life.cast)
            assert {name: now[name] for name in made if name in now} == {
                name: made[name] for name in now if name in made
            }
            made = now


async def pass_through(life: Life, phase: str, trouble: Trouble) -> None:
    """One phase with its faults, until all is done and quiet."""
    life.proxy.clear()
    life.proxy.trouble = trouble
    life.proxy.cut_watches()  # they were begun before this phase, and would live through it
    await life.settle(await begun(life, phase))
    assert trouble.done, "nothing went wrong"


@pytest.mark.parametrize("seed", [1])
async def test_mixed_faults_change_nothing(world: World, reference: dict[str, Phase], seed: int) -> None:
    await lives_through(world, reference, f"mixed-{seed}", FAULTS, seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_one_kind_of_fault_changes_nothing(world: World, reference: dict[str, Phase], fault: Fault) -> None:
    budget = FEW if fault.act is answer_too_late else BUDGET
    await lives_through(world, reference, f"fault-{fault.name}", [fault], seed=1, budget=budget)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_many_mixtures_of_faults_change_nothing(world: World, reference: dict[str, Phase]) -> None:
    for first in range(2, 12, 2):
        pair = (first, first + 1)
        await asyncio.gather(*(lives_through(world, reference, f"mixed-{seed}", FAULTS, seed) for seed in pair))

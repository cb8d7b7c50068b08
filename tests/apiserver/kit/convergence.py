"""Carries stacks out without an operator: its own rooms (observe, desired, plan, apply), every gate open."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kubernetes.aio import client, config

from appstack_operator.api import AppStack
from appstack_operator.apply import apply
from appstack_operator.client import Api
from appstack_operator.converge import Operator, build_context, converge
from appstack_operator.desired.stack import build_stack
from appstack_operator.gates import Gates
from appstack_operator.kinds import STACK, Ref
from appstack_operator.observe import observe_kubernetes
from appstack_operator.placeholders import AnyAddress, placeholder_credentials
from appstack_operator.plan import Action, plan
from appstack_operator.plugin.operators import settings_of
from tests.apiserver.kit.operator import IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from appstack_operator.objects import Object
    from appstack_operator.observed import Observed

MOST_PASSES = 6
SETTINGS = settings_of(IMAGES)


@dataclass(frozen=True, slots=True)
class Convergence:
    """An API server and a loop to speak with it in, for tests that are not asynchronous (hypothesis)."""

    api: Api
    runner: asyncio.Runner

    @classmethod
    @contextmanager
    def to(cls, kubeconfig: Path) -> Iterator[Convergence]:
        """Connect with a kubeconfig."""

        async def connect() -> Api:
            configuration = client.Configuration()
            await config.load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
            return Api(client.ApiClient(configuration), read_seconds=30, write_seconds=30)

        with asyncio.Runner() as runner:
            api = runner.run(connect())
            yield cls(api, runner)
            runner.run(api.close())

    def reach(self, namespace: str, name: str = "shop") -> None:
        """Pass after pass until nothing is left to do."""
        for _ in range(MOST_PASSES):
            actions = self.runner.run(self._pass(namespace, name))
            if not actions:
                return
        raise AssertionError(f"no end after {MOST_PASSES} passes: {[str(action) for action in actions]}")

    def objects(self, namespace: str, name: str = "shop") -> list[Object]:
        """All children of a stack."""
        _, seen = self.runner.run(self._look(namespace, name))
        return [obj for by_name in seen.objects.values() for obj in by_name.values()]

    def observed(self, stack: AppStack) -> Observed:
        """What is there of a stack."""
        return self.runner.run(observe_kubernetes(self.api, stack, datetime.now(UTC)))

    def desired(self, stack: AppStack) -> list[Object]:
        """What a stack is to become, given what is there."""
        context = build_context(stack, self.observed(stack), placeholder_credentials(), SETTINGS)
        return [item.manifest for item in build_stack(stack, replace(context, addresses=AnyAddress(context.addresses)))]

    def real_pass(self, namespace: str, name: str = "shop") -> None:
        """One pass as the operator does it, gates and status included."""
        self.runner.run(converge(Operator(self.api, SETTINGS), namespace, name))

    async def _look(self, namespace: str, name: str) -> tuple[AppStack, Observed]:
        live = await self.api.get(Ref(STACK.name, namespace, name))
        stack = AppStack.model_validate(live)
        return stack, await observe_kubernetes(self.api, stack, datetime.now(UTC))

    async def _pass(self, namespace: str, name: str) -> list[Action]:
        stack, seen = await self._look(namespace, name)
        for deployment in seen.of_kind("Deployment"):
            deployment["status"] = rolled_out(deployment)
        # No pool of connections runs here either: who waits for it would never be sent through it.
        is_door = stack.spec.postgres.pooler.enabled
        context = replace(build_context(stack, seen, placeholder_credentials(), SETTINGS), pooler_is_door=is_door)
        actions = plan(stack, build_stack(stack, context), seen, Gates())
        failures = await apply(stack, actions, self.api)
        assert [failure.message for failure in failures] == []
        return actions


def rolled_out(deployment: Object) -> Object:
    """As if all its pods had come: nobody runs any here, and what they replace would stay."""
    count = deployment["spec"].get("replicas", 1)
    numbers = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), count)
    return {"observedGeneration": deployment["metadata"]["generation"], **numbers}

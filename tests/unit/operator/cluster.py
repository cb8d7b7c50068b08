"""A cluster for the lookout: pods with addresses, nodes that may be cut off, an API server that takes marks."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from appstack_operator.converge import Known, Operator
from appstack_operator.neighbours import PORT_NAMES, places_of
from appstack_operator.rounds import Word
from appstack_operator.settings import Settings
from tests.unit.operator.factories import a_pod, a_stack

if TYPE_CHECKING:
    from appstack_operator.client import ApiError
    from appstack_operator.kinds import Kind, Ref
    from appstack_operator.lookout import Lookout
    from appstack_operator.objects import Object

IMAGES = {f"image_{name}": f"{name}:1" for name in ("backend", "postgres", "redis", "rabbitmq")}
KEY = ("shop", "shop")


class Cluster:
    """Pods with addresses, nodes that may be cut off, and an API server that takes marks."""

    def __init__(self, *components: str, nodes: int = 3, left_alone: bool = False, **settings: Any) -> None:
        self.stack = a_stack()
        self.pods = [self.a_pod(component, number) for component in components for number in range(nodes)]
        self.cut: set[str] = set()  # nodes
        self.refusal: ApiError | None = None
        self.asked: list[str] = []  # addresses
        self.lists = 0
        self.marks: list[str] = []
        self.events: list[Object] = []
        self.looks = asyncio.Semaphore(1)
        self.operator = Operator(self, Settings.model_validate({**IMAGES, **settings}))  # type: ignore[arg-type]
        self.operator.known[KEY] = Known(self.stack, left_alone)  # and no look: a successor has none yet
        self.see()

    def a_pod(self, component: str, number: int) -> Object:
        address = f"10.{sorted(PORT_NAMES).index(component)}.0.{number}"
        pod = a_pod(self.stack, component, number, podIP=address)
        pod["metadata"]["resourceVersion"] = "1"
        pod["spec"]["containers"] = [{"ports": [{"name": PORT_NAMES[component], "containerPort": 8000}]}]
        return pod

    def see(self) -> None:
        """A pass looks at the stack."""
        self.operator.neighbours.note(KEY, places_of(self.pods))

    async def ask(self, address: str, _port: int) -> Word:
        self.asked.append(address)
        (node,) = {pod["spec"]["nodeName"] for pod in self.pods if pod["status"]["podIP"] == address}
        return Word.SILENCE if node in self.cut else Word.ANSWER

    async def list(self, kind: Kind, namespace: str, selector: str) -> list[Object]:
        assert (kind.name, namespace, selector) == ("Pod", "shop", "appstack.dev/stack=shop")
        self.lists += 1
        return deepcopy(self.pods)

    async def patch(self, ref: Ref, change: Object, subresource: str) -> Object:
        assert (ref.kind, subresource) == ("Pod", "status")
        if self.refusal:
            raise self.refusal
        (pod,) = [each for each in self.pods if each["metadata"]["name"] == ref.name]
        assert change["metadata"]["uid"] == pod["metadata"]["uid"]
        pod["status"]["conditions"] = change["status"]["conditions"]
        self.marks.append(ref.name)
        return pod

    async def create(self, event: Object) -> Object:
        self.events.append(event)
        return event

    def set_ready(self, name: str) -> None:
        """Kubelet says its word."""
        (pod,) = [each for each in self.pods if each["metadata"]["name"] == name]
        pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        self.see()


async def rounds(lookout: Lookout, count: int = 1) -> None:
    """Rounds of questions, and what follows from each."""
    for _ in range(count):
        await lookout.look()
        for key in lookout.due():
            await lookout.take_out(key)

"""What a real operator tells of its work while a stack comes and goes: metrics that move, and log lines to follow."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from appstack_operator.plan import Impact
from tests.apiserver.kit.life import NAME, SPEC

if TYPE_CHECKING:
    from tests.apiserver.kit.life import Life

WRITING = ("create", "apply", "patch", "delete")


class Told:
    """The metrics of an operator at one moment."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self._samples = [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples of a name with these labels."""
        return sum(
            each.value for each in self._samples if each.name == name and labels.items() <= dict(each.labels).items()
        )

    def values(self, name: str, label: str) -> dict[str, float]:
        """Value of a label -> the sum."""
        found = {each.labels[label] for each in self._samples if each.name == name}
        return {value: self.total(name, **{label: value}) for value in found}


async def told(life: Life) -> Told:
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.get(f"http://127.0.0.1:{life.operator.metrics_port}/metrics")
    return Told(answer.text)


def log_of(life: Life) -> list[dict[str, Any]]:
    """Each line as the object that it is."""
    return [json.loads(line) for line in life.operator.said().rpartition("\n")[0].splitlines()]


async def test_metrics_and_log_lines_follow_the_work(life: Life) -> None:
    life.spec = SPEC
    life.operator.start()
    await life.create()
    await life.settle(life.is_ready)
    await life.update()
    await life.settle(life.is_ready)

    now, wrote = await told(life), Counter(each.split()[0] for each in life.proxy.writes)
    passes = now.values("appstack_passes_total", "result")
    assert passes["done"] == now.total("appstack_pass_seconds_count") > 2
    assert now.total("appstack_pass_seconds_sum") > 0
    assert passes.get("crashed", 0) == 0
    asked = now.values("appstack_api_requests_total", "verb")
    assert sum(asked.get(verb, 0) for verb in WRITING) == wrote.total()
    assert asked["create"] == wrote["POST"]
    assert min(asked["list"], asked["get"]) > 0
    acted = now.values("appstack_actions_total", "impact")
    assert acted.keys() <= {impact.name.lower().replace("_", "-") for impact in Impact}
    assert min(acted["in-place"], acted["rolling"], acted["destructive"]) >= 1
    assert now.total("appstack_condition", stack=NAME, condition="Ready") == 1
    assert now.total("appstack_stacks") == 1
    assert now.total("appstack_queue_depth") == 0
    assert now.total("appstack_child_events_total", result="news") > 0

    lines = log_of(life)
    actions = [each for each in lines if "action" in each]
    assert Counter(each["action"] for each in actions) == now.values("appstack_actions_total", "verb")
    assert {each["stack"] for each in actions} == {f"{life.cast.namespace}/{NAME}"}
    assert all(each["pass"] > 0 and each["target"] and each["time"] and each["level"] for each in actions)

    async def is_forgotten() -> bool:
        """Once nothing is left of it, the operator has still to hear of that."""
        gone = await told(life)
        is_told_of = gone.values("appstack_condition", "condition") or gone.total("appstack_stacks")
        return await life.has_ended() and not is_told_of

    await life.delete()
    await life.settle(is_forgotten)

"""What others wrote reaches a terminal as text: it moves no cursor, hides no line, changes no colour."""

from __future__ import annotations

from typing import Any

from appstack_operator.plugin.differences import Difference
from appstack_operator.plugin.forecast import build_forecast
from appstack_operator.plugin.look import Look
from appstack_operator.plugin.operator_sign import OperatorSign
from appstack_operator.plugin.plan_view import render_difference, render_forecast
from appstack_operator.plugin.stack_report import build_report
from appstack_operator.plugin.status_view import render_report
from appstack_operator.plugin.text import CONTROLS, Palette
from appstack_operator.settings import Settings
from tests.unit.operator.factories import NOW, a_pod, a_stack, observed

EVIL = "fine\r\x1b[2J\x1b]0;title\x07\x9b1A\nReady: True"
SETTINGS = Settings(image_backend="b:1", image_postgres="p:17", image_redis="r:8", image_rabbitmq="m:4")


def test_last_words_of_a_program_are_words() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    ended = {"terminated": {"exitCode": 1, "message": EVIL}}
    state = {"name": "api", "image": "shop:1", "state": waiting, "lastState": ended}
    pod = a_pod(a_stack(), "api", ready=False, containerStatuses=[state])
    told: dict[str, Any] = {"type": "APIReady", "status": "False", "reason": "CrashLooping", "message": EVIL}
    live = {**a_stack().model_dump(by_alias=True, mode="json", exclude_none=True), "status": {"conditions": [told]}}
    kinds = ("StatefulSet", "Deployment", "CronJob", "Job", "Pod", "PersistentVolumeClaim")
    labels = pod["metadata"]["labels"]
    deployment = {"kind": "Deployment", "metadata": {"name": "shop-api", "labels": labels}, "spec": {"replicas": 1}}
    objects: dict[str, list[Any]] = {kind: [] for kind in kinds} | {"Pod": [pod], "Deployment": [deployment]}
    report = build_report(Look(live, objects, notes=[EVIL]), OperatorSign(is_away=False), NOW)
    lines = list(render_report(report, Palette()))
    assert sum("Ready: True" in line for line in lines) == 3, "the condition, the cause of the pod, the note"
    assert not [line for line in lines if CONTROLS.search(line)]


def test_values_of_a_plan_are_words() -> None:
    for difference in (Difference("a", "b", EVIL), Difference("a", "b", EVIL.replace("\n", ""))):
        lines = list(render_difference(difference, "", Palette()))
        assert len(lines) > (1 if "\n" in str(difference.after) else 0)
        assert not [line for line in lines if CONTROLS.search(line)]
    evil = a_stack(backend={"image": "shop:1"})
    lines = list(render_forecast(build_forecast(evil, None, observed(), SETTINGS), Palette()))
    assert not [line for line in lines if CONTROLS.search(line)]

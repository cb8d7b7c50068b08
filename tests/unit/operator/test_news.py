"""What a pod notes of itself all the time wakes nobody; whatever a pass reads does."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY

from appstack_operator.news import News, Urgency
from tests.unit.operator.factories import a_pod, a_stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from appstack_operator.objects import Object


def a_member() -> Object:
    pod = a_pod(a_stack(), "postgres", labels={"appstack.dev/role": "primary"})
    pod["metadata"] |= {
        "resourceVersion": "1",
        "annotations": {"status": '{"xlog_location":1}', "mine": "yes"},
        "managedFields": [{"manager": "patroni", "time": "2026-01-01T12:00:00Z"}],
    }
    return pod


def ignored() -> float:
    return REGISTRY.get_sample_value("appstack_child_events_total", {"result": "ignored"}) or 0


def after(change: Callable[[Any], None]) -> bool:
    """Whether a change of a pod that was seen is news; any write moves the version."""
    news, pod = News(), a_member()
    assert news.is_news("ADDED", pod)
    changed = copy.deepcopy(pod)
    changed["metadata"]["resourceVersion"] = "2"
    change(changed)
    return news.urgency("MODIFIED", changed) is Urgency.NOW


def renew(pod: Object) -> None:
    pod["metadata"]["annotations"]["status"] = '{"xlog_location":2}'
    pod["metadata"]["managedFields"][0]["time"] = "2026-01-01T12:00:10Z"


def test_a_position_that_moves_on_wakes_nobody() -> None:
    before = ignored()
    assert not after(renew)
    assert ignored() == before + 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda pod: pod["metadata"]["labels"].update({"appstack.dev/role": "replica"}), id="a role"),
        pytest.param(lambda pod: pod["metadata"]["annotations"].pop("mine"), id="an annotation of a user's"),
        pytest.param(lambda pod: pod["metadata"].update(deletionTimestamp="2026-01-01T12:00:00Z"), id="its end begins"),
        pytest.param(lambda pod: pod["metadata"].update(uid="another"), id="another pod of that name"),
        pytest.param(lambda pod: pod["status"]["conditions"][0].update(status="False"), id="its readiness"),
        pytest.param(lambda pod: pod["spec"].update(nodeName="node-9"), id="its node"),
    ],
)
def test_what_a_pass_reads_is_news(change: Callable[[Any], None]) -> None:
    assert after(change)


def test_a_change_that_comes_with_a_position_is_news() -> None:
    def both(pod: Object) -> None:
        renew(pod)
        pod["status"]["phase"] = "Failed"

    assert after(both)


def test_an_end_is_news_and_is_forgotten() -> None:
    news, pod = News(), a_member()
    news.is_news("ADDED", pod)
    assert news.is_news("DELETED", pod)
    assert len(news) == 0


def test_other_kinds_are_always_news() -> None:
    news, config = News(), {"kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "shop"}}
    assert news.is_news("MODIFIED", config)
    assert news.is_news("MODIFIED", config)
    assert len(news) == 0


def an_autoscaler(use_percent: int, *, can_measure: bool = True, most: int = 4) -> Object:
    measured = {"resource": {"name": "cpu", "current": {"averageUtilization": use_percent}}, "type": "Resource"}
    conditions = [{"type": "ScalingActive", "status": str(can_measure), "message": f"use is {use_percent} %"}]
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": "shop", "name": "shop-api", "resourceVersion": str(use_percent)},
        "spec": {"maxReplicas": most},
        "status": {"currentMetrics": [measured], "conditions": conditions},
    }


def test_what_an_autoscaler_measures_wakes_nobody() -> None:
    news = News()
    assert news.is_news("ADDED", an_autoscaler(10))
    assert not news.is_news("MODIFIED", an_autoscaler(20))
    assert news.is_news("MODIFIED", an_autoscaler(20, can_measure=False))
    assert news.is_news("MODIFIED", an_autoscaler(20, can_measure=False, most=5))


def a_live_stack(**changes: Any) -> Object:
    meta = {"name": "shop", "namespace": "shop", "uid": "1", "resourceVersion": "1", "generation": 1}
    return {"kind": "AppStack", "metadata": meta, "spec": {"paused": False}, "status": {"summary": {}}} | changes


def test_a_status_that_a_pass_has_written_leads_to_no_other_pass() -> None:
    news, stack = News(), a_live_stack()
    assert news.is_news(None, stack)  # as listed
    written = a_live_stack(
        status={"summary": {"ready": "True"}}, metadata={**stack["metadata"], "resourceVersion": "2"}
    )
    assert not news.is_news("MODIFIED", written)
    assert news.is_news("MODIFIED", a_live_stack(spec={"paused": True}))
    ending = {**stack["metadata"], "deletionTimestamp": "2026-01-01T12:00:00Z"}
    assert news.is_news("MODIFIED", a_live_stack(spec={"paused": True}, metadata=ending))
    assert news.is_news("DELETED", a_live_stack())
    assert len(news) == 0


def a_step(kind: str, component: str) -> Object:
    labels = {"appstack.dev/stack": "shop", "appstack.dev/component": component}
    return {"kind": kind, "metadata": {"namespace": "shop", "name": "a", "labels": labels}}


@pytest.mark.parametrize(
    ("kind", "component", "urgency"),
    [
        ("Job", "cron-nightly", Urgency.LATER),
        ("Pod", "cron-nightly", Urgency.LATER),
        ("Job", "migrate", Urgency.NOW),
        ("Pod", "worker-cron-like", Urgency.NOW),
        ("NetworkPolicy", "cron-nightly", Urgency.NOW),
    ],
)
def test_steps_of_a_run_are_told_together(kind: str, component: str, urgency: Urgency) -> None:
    assert News().urgency("ADDED", a_step(kind, component)) is urgency


def test_a_schedule_that_somebody_changes_is_repaired_at_once() -> None:
    news, schedule = News(), a_step("CronJob", "cron-nightly") | {"spec": {"suspend": False}}
    assert news.urgency("ADDED", schedule) is Urgency.NOW
    ran = schedule | {"status": {"lastScheduleTime": "2026-01-01T12:00:00Z"}}
    assert news.urgency("MODIFIED", ran) is Urgency.LATER
    assert news.urgency("MODIFIED", ran | {"spec": {"suspend": True}}) is Urgency.NOW
    assert news.urgency("DELETED", ran) is Urgency.NOW

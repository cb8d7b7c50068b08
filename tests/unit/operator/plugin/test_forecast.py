"""What a change leads to, as far as somebody has to act first."""

from __future__ import annotations

from dataclasses import replace

from appstack_operator.plugin.commands import ExitCode, code_of
from appstack_operator.plugin.forecast import build_forecast
from appstack_operator.settings import Settings
from tests.unit.operator.factories import a_stack, observed

SETTINGS = Settings(image_backend="b:1", image_postgres="p:17", image_redis="r:8", image_rabbitmq="m:4")


def test_a_stack_that_is_being_deleted_is_no_fine_place_for_a_change() -> None:
    stack = a_stack(backend={"image": "shop:2"})
    live = a_stack().model_dump(by_alias=True, mode="json", exclude_none=True)
    assert not build_forecast(stack, live, observed(), SETTINGS).is_blocked
    live["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    forecast = build_forecast(stack, live, observed(), SETTINGS)
    assert code_of(forecast) is ExitCode.DISRUPTIVE
    assert list(forecast.changes) == []
    assert "the stack is being deleted" in forecast.notes[0]


def test_a_volume_of_somebody_elses_is_told_before_anything_is_made() -> None:
    assert not build_forecast(a_stack(), None, observed(), SETTINGS).is_blocked
    taken = replace(observed(), foreign_claims={"data-shop-redis-1": "redis"})
    forecast = build_forecast(a_stack(), None, taken, SETTINGS)
    assert forecast.is_blocked
    assert [
        note for note in forecast.notes if note.startswith("ForeignObject: PersistentVolumeClaim data-shop-redis-1")
    ]


def test_a_stack_whose_spec_cannot_be_read_any_more_can_be_mended() -> None:
    """An older CRD may have taken what is refused now: the plan of the way out ended in a traceback."""
    live = a_stack().model_dump(by_alias=True, mode="json", exclude_none=True)
    live["spec"]["backend"]["api"] |= {"replicas": 1001}
    forecast = build_forecast(a_stack(), live, observed(), SETTINGS)
    changed = {each.path: (each.before, each.after) for each in forecast.spec}
    assert changed["spec.backend.api.replicas"] == (1001, 2)
    assert forecast.changes

"""A setting reaches PostgreSQL once every member has looked at it; what one refuses never does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from appstack_operator.assess.stack import assess_stack
from appstack_operator.assess.verdict import Reason
from appstack_operator.converge import build_context
from appstack_operator.desired.parameters import ANNOTATION, settle_parameters
from appstack_operator.desired.postgres import build_dynamic_configuration, build_postgres
from appstack_operator.left_to_do import unsettled_parameters
from appstack_operator.placeholders import placeholder_credentials
from appstack_operator.plugin.forecast import as_if_taken
from appstack_operator.settings import Settings
from tests.unit.operator.factories import a_context, a_pod, a_stack, healthy_answers, made, observed

if TYPE_CHECKING:
    from appstack_operator.api import AppStack
    from appstack_operator.desired.context import Parameters
    from appstack_operator.objects import Object

WHY = 'invalid value for parameter "log_timezone": "Nowhere"'
BAD = {"log_timezone": "Nowhere"}
GOOD = {"work_mem": "9MB"}
VOLUME_BYTES = 10 * 2**30
SETTINGS = Settings(image_backend="b:1", image_postgres="p:17", image_redis="r:8", image_rabbitmq="m:4")


def report(checked: dict[str, str], **refused: str) -> str:
    return json.dumps({"checked": checked, "refused": {name: [checked[name], why] for name, why in refused.items()}})


def a_member(number: int, said: str | None, *, ready: bool = True) -> Object:
    pod = a_pod(a_stack(), "postgres", number, ready=ready)
    pod["metadata"]["annotations"] = {ANNOTATION: said} if said is not None else {}
    return pod


def a_config(before: dict[str, str], *, initialized: bool = True) -> Object:
    """Patroni's ConfigMap, as a stack with these settings had it."""
    config = build_dynamic_configuration(a_stack(postgres={"parameters": before}))
    if initialized:
        config["metadata"]["annotations"]["initialize"] = "7234"
    return config


def settled(
    wanted: dict[str, Any], *said: str | None, before: dict[str, str] | None = None, **changes: Any
) -> Parameters:
    stack = a_stack(postgres={"parameters": wanted})
    members = changes.pop("members", [a_member(number, text) for number, text in enumerate(said)])
    return settle_parameters(stack, observed(a_config(before or {}, **changes), *members), "1Gi", VOLUME_BYTES)


def test_the_first_settings_are_there_before_any_member() -> None:
    found = settled(GOOD, initialized=False)
    assert (found.in_force, found.proposed) == (GOOD, {})


def test_a_new_value_is_proposed_and_the_old_one_stays() -> None:
    found = settled(GOOD, None, None, before={"work_mem": "5MB"})
    assert (found.in_force, found.proposed, found.refused) == ({"work_mem": "5MB"}, GOOD, {})


def test_a_value_that_all_ready_members_have_looked_at_is_set() -> None:
    found = settled(GOOD, report(GOOD), report(GOOD), before={"work_mem": "5MB"})
    assert (found.in_force, found.proposed) == (GOOD, {})


@pytest.mark.parametrize("other", [None, report({}), report({"work_mem": "8MB"}), "{", "[]", '{"checked": 7}'])
def test_one_ready_member_that_has_not_looked_is_waited_for(other: str | None) -> None:
    found = settled(GOOD, report(GOOD), other)
    assert (found.in_force, found.proposed) == ({}, GOOD)


def test_a_member_that_is_down_is_not_waited_for_and_its_no_counts() -> None:
    down = a_member(1, None, ready=False)
    assert settled(GOOD, members=[a_member(0, report(GOOD)), down]).in_force == GOOD
    against = a_member(1, report(GOOD, work_mem="no"), ready=False)
    assert settled(GOOD, members=[a_member(0, report(GOOD)), against]).refused == {"work_mem": "no"}


def test_where_no_member_is_ready_those_that_speak_decide() -> None:
    members = [a_member(0, report(GOOD), ready=False), a_member(1, None, ready=False)]
    assert settled(GOOD, members=members).in_force == GOOD


def test_a_refused_value_leaves_the_former_one_and_goes_on_to_be_looked_at() -> None:
    found = settled(BAD, report(BAD, log_timezone=WHY), report(BAD), before={"log_timezone": "UTC"})
    assert (found.in_force, found.proposed, found.refused) == ({"log_timezone": "UTC"}, BAD, {"log_timezone": WHY})


def test_a_refused_value_of_a_new_stack_is_taken_back() -> None:
    found = settled(BAD, report({"log_timezone": "Nowhere"}, log_timezone=WHY), before=BAD)
    assert (found.in_force, found.proposed) == ({}, BAD)


def test_another_value_is_another_question() -> None:
    found = settled({"log_timezone": "UTC"}, report(BAD, log_timezone=WHY))
    assert (found.proposed, found.refused) == ({"log_timezone": "UTC"}, {})


def test_a_setting_that_is_taken_out_of_the_spec_goes_at_once() -> None:
    assert settled({}, report(GOOD), before=GOOD).in_force == {}


def test_what_the_operator_sets_itself_stays_until_the_user_s_value_is_taken() -> None:
    assert settled({"max_connections": "50"}, None).in_force == {"max_connections": "200"}


@pytest.mark.parametrize(("value", "fits"), [("512MB", True), ("1GB", False), ("2TB", False), ("131072", False)])
def test_shared_buffers_fit_into_the_memory_limit(value: str, fits: bool) -> None:
    found = settled({"shared_buffers": value}, initialized=False)
    assert ("1Gi" in found.refused.get("shared_buffers", "")) is not fits
    assert (found.in_force == {"shared_buffers": value}) is fits


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("max_connections", ["25", "300"], ["24", "1"]),
        ("max_standby_streaming_delay", ["0", "30000", "5min", "300s"], ["-1", "6min", "1h", "300001"]),
        ("max_wal_size", ["5GB", "5120", "+5120"], ["5121", "6GB", "1TB", "4e1GB", ".9TB", "0x10000", "010"]),
        ("min_wal_size", ["80MB"], ["5.5GB"]),
        ("wal_keep_size", ["0", "2GB"], ["3GB", " 9000 MB "]),
    ],
)
def test_what_a_stack_cannot_live_with_is_refused_with_what_to_do(
    name: str, taken: list[str], refused: list[str]
) -> None:
    """PostgreSQL would take all of them; the volume of a stack that says nothing has 10Gi."""
    for value in taken:
        assert settled({name: value}, initialized=False).in_force == {name: value}
    for value in refused:
        found = settled({name: value}, initialized=False)
        assert found.in_force.get(name) != value
        assert found.proposed == {}
        assert len(found.refused[name].split()) > 5


def test_wal_goes_by_the_volume_that_is_there_not_by_the_one_that_is_asked_for() -> None:
    stack = a_stack(postgres={"storage": {"size": "100Gi"}, "parameters": {"max_wal_size": "40GB"}})
    small = a_claim("10Gi")
    context = build_context(stack, observed(a_config({}), small), placeholder_credentials(), SETTINGS)
    assert context.parameters is not None
    assert "half of a member's volume, which has 10240Mi" in context.parameters.refused["max_wal_size"]


def a_claim(capacity: str) -> Object:
    metadata = {"name": "data-shop-postgres-0", "labels": {"appstack.dev/component": "postgres"}}
    asked, has = {"resources": {"requests": {"storage": "100Gi"}}}, {"capacity": {"storage": capacity}}
    return {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": asked, "status": has}


@pytest.mark.parametrize("name", ["max_connections", "max_standby_streaming_delay", "wal_keep_size"])
def test_what_is_no_value_at_all_is_postgresql_s_to_refuse(name: str) -> None:
    assert settled({name: "much"}, None).proposed == {name: "much"}


@pytest.mark.parametrize("config", ["", "no JSON", "[]", '{"postgresql": null}'])
def test_a_configuration_that_somebody_spoilt_is_no_obstacle(config: str) -> None:
    live = a_config({})
    live["metadata"]["annotations"]["config"] = config
    seen = observed(live, a_member(0, report(GOOD)))
    assert settle_parameters(a_stack(postgres={"parameters": GOOD}), seen, "1Gi", VOLUME_BYTES).in_force == GOOD


def proposal_in(parameters: Parameters) -> Object:
    config = build_dynamic_configuration(a_stack(), parameters)["metadata"]["annotations"]["config"]
    found: Object = json.loads(config)
    return found


def test_patroni_s_configuration_holds_what_is_in_force_and_beside_it_what_is_proposed() -> None:
    found = proposal_in(settled(BAD, None, before={"log_timezone": "UTC"}))
    assert found["postgresql"]["parameters"]["log_timezone"] == "UTC"
    assert found["appstack"] == {"proposed": BAD}
    assert "appstack" not in proposal_in(settled(GOOD, initialized=False))


def judged(wanted: dict[str, str], *said: str | None) -> tuple[AppStack, Any, list[str]]:
    stack = a_stack(postgres={"parameters": wanted})
    context = a_context(parameters=settled(wanted, *said, before={"log_timezone": "UTC"}))
    stateful_set = next(o for o in build_postgres(stack, context) if o["kind"] == "StatefulSet")
    members = [a_member(number, None) for number in (0, 1)]
    seen = observed(made(stack, stateful_set, updateRevision="2"), a_config({}), *members, **healthy_answers(stack))
    return stack, assess_stack(stack, seen, context), unsettled_parameters(stack, seen, context)


def test_a_refusal_names_the_setting_its_value_why_and_what_stays() -> None:
    _, assessment, unsettled = judged(BAD, report(BAD, log_timezone=WHY), report(BAD))
    found = assessment.verdicts["PostgresReady"]
    assert (found.status, found.reason) == ("False", Reason.PARAMETER_REFUSED)
    for words in ('spec.postgres.parameters.log_timezone = "Nowhere"', WHY, "UTC stays in force"):
        assert words in found.message
    assert assessment.serves["PostgresReady"]
    assert "PostgresReady" in assessment.harmless
    assert unsettled == [found.message]


def test_a_question_is_work_under_way() -> None:
    _, assessment, unsettled = judged(GOOD, None, None)
    found = assessment.verdicts["PostgresReady"]
    assert (found.status, found.reason) == ("True", Reason.ROLLOUT_IN_PROGRESS)
    assert "work_mem" in found.message
    assert unsettled == [found.message]


def test_a_plan_shows_a_setting_as_taken_unless_it_is_known_to_be_refused() -> None:
    taken = as_if_taken(settled({**GOOD, **BAD}, report(BAD, log_timezone=WHY)))
    assert taken.in_force == GOOD
    assert taken.proposed == BAD

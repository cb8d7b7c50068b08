"""A password that its service does not use."""

from __future__ import annotations

from appstack_operator.assess.verdict import Reason
from tests.unit.operator.factories import a_stack
from tests.unit.operator.running import a_running_stack, verdicts, with_object


def test_an_edited_password_that_is_not_in_force_endangers_nothing() -> None:
    stack = a_stack()
    seen = a_running_stack(stack)
    secret = seen.get("Secret", "shop-redis-auth")
    assert secret is not None
    edited = with_object(seen, {**secret, "data": {"password": "b3RoZXI="}})
    found = verdicts(stack, edited)
    assert found["RedisReady"].reason is Reason.SECRET_INVALID
    assert found["Stalled"].reason is Reason.SECRET_INVALID
    assert found["Ready"].is_true
    assert found["HighlyAvailable"].is_true

"""What is read of a stack: its spec has to be right, its status is only what was told before."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from appstack_operator.api import AppStack, AppStackStatus

NAMED = {"metadata": {"name": "shop"}}
READABLE = {"observedGeneration": 3, "migrations": {"state": "Failed"}}


def test_a_status_is_read() -> None:
    status = AppStack.model_validate({**NAMED, "status": READABLE}).status
    assert (status.observed_generation, status.migrations and status.migrations.state) == (3, "Failed")


@pytest.mark.parametrize(
    "status", [{"migrations": {"state": "Unheard"}}, {"conditions": [{"type": "Ready"}]}, "spoilt"]
)
def test_a_status_that_nobody_can_read_is_none(status: object) -> None:
    assert AppStack.model_validate({**NAMED, "status": status}).status == AppStackStatus()


def test_a_spec_that_nobody_can_read_is_refused_whatever_the_status_says() -> None:
    with pytest.raises(ValidationError) as refused:
        AppStack.model_validate({**NAMED, "spec": {"backend": {"api": {"replicas": 1001}}}, "status": "spoilt"})
    assert [each["loc"] for each in refused.value.errors()] == [("spec", "backend", "api", "replicas")]

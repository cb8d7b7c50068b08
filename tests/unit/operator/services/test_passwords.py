"""An edited password is set under the rules of every other write."""

from __future__ import annotations

import pytest

from appstack_operator.lease import Terms
from appstack_operator.services import passwords
from appstack_operator.services.passwords import rotate_passwords
from tests.unit.operator.factories import a_context, a_stack, observed

EDITED = {"postgres_app": "edited"}


@pytest.mark.parametrize("may_write", [True, False], ids=["while the Lease is held", "not afterwards"])
async def test_it_is_set(monkeypatch: pytest.MonkeyPatch, *, may_write: bool) -> None:
    told: list[str] = []

    async def note(_host: str, _superusers: object, role: str, password: str) -> None:
        told.append(f"{role}: {password}")

    monkeypatch.setattr(passwords, "usable_edits", lambda *_: EDITED)
    monkeypatch.setattr(passwords, "primary_of", lambda _: "127.0.0.1")
    monkeypatch.setattr(passwords, "set_role_password", note)
    before = a_context().credentials
    after = await rotate_passwords(a_stack(), observed(), before, may_write=lambda: may_write)
    assert told == (["app: edited"] if may_write else [])
    assert (after.postgres_app == "edited") is may_write


def test_it_takes_no_longer_than_a_write_may() -> None:
    assert Terms().write_seconds >= passwords.TIMEOUT_SECONDS

"""When a run may end: the stack has been whole for a while, also after its clients were waited for."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.chaos import run
from tests.chaos.scenarios import Scenario
from tests.chaos.site import Trouble

if TYPE_CHECKING:
    from tests.chaos.load import Load
    from tests.chaos.watch import Watch


class Site:
    """A stack that was not whole for a moment, just before its only client was served."""

    running = ("sql-held",)
    whole_since = 0.0
    ended: tuple[str, ...] = ()

    def gone(self) -> tuple[str, ...]:
        return self.ended

    def was_served_since(self, *_: object) -> bool:
        self.whole_since = time.monotonic()
        return True

    def now(self, kind: str) -> str:
        return str(kind == "HighlyAvailable")


def test_a_run_ends_only_where_it_stayed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CALM_SECONDS", 0.5)
    site = Site()
    run.wait_for_recovery(cast("Load", site), cast("Watch", site))
    assert time.monotonic() - site.whole_since > run.CALM_SECONDS


@pytest.mark.parametrize(("operator", "is_told"), [("absent", True), ("on the lost node", False), ("alive", False)])
def test_the_return_of_an_absent_operator_is_noted_as_it_is_ordered(
    monkeypatch: pytest.MonkeyPatch, operator: str, is_told: bool
) -> None:
    ordered: list[float] = []
    monkeypatch.setattr(run, "wait_for_recovery", lambda *_: None)
    scenario = Scenario("x", "x", "postgres", "x", lambda *_: None, watch_seconds=0.1, operator=operator)
    with ExitStack() as cleanup:
        anything: Any = None
        marks, _ = run.strike_and_mend(
            scenario, anything, anything, anything, anything, "", cleanup, lambda: ordered.append(time.monotonic())
        )
    assert (marks.returned is not None) is is_told
    assert marks.returned is None or marks.told + 0.1 <= marks.returned <= ordered[0]


def test_a_run_whose_importer_or_client_inside_has_ended_ends_badly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CALM_SECONDS", 0.1)
    site = Site()
    site.ended = ("api-import", "sql-isolated")
    with pytest.raises(Trouble, match="ended by themselves: api-import, sql-isolated"):
        run.wait_for_recovery(cast("Load", site), cast("Watch", site))

"""A repeat that was begun and did not end leaves a trace, which is told and published, and hinders no other one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.chaos import __main__ as chaos
from tests.chaos import run
from tests.chaos.begun import beside, in_words, unended, write_whole
from tests.chaos.measure import Marks
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.scorecard import mark_of
from tests.chaos.site import Trouble, Victim
from tests.unit.chaos.made_runs import RUNS
from tests.unit.chaos.made_target import TARGET

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.begun import Trace
    from tests.chaos.clients.target import Target
    from tests.chaos.scenarios import Scenario
    from tests.chaos.site import Site

ROOT = Path(__file__).resolve().parents[3]
SIGKILL = SCENARIOS["postgres-primary-sigkill"]
IMAGES = {"redis": "r:1"}
MARKS = Marks(100.0, 100.2, None, 130.0)
SITE = SimpleNamespace(is_whole=lambda: True, target=lambda **_: TARGET, release_note=str, images=lambda: IMAGES)


def begin(
    directory: Path,
    work: Callable[[Trace], object],
    monkeypatch: pytest.MonkeyPatch,
    minute: int = 0,
    scenario: Scenario = SIGKILL,
    site: SimpleNamespace = SITE,
) -> dict[str, Any]:
    """A repeat on a stack that does no more than this."""

    def perform(*words: Any) -> tuple[Any, ...]:
        work(words[-1])
        return [], [], SimpleNamespace(changes=[]), MARKS, Victim("shop-postgres-0", "n1", "", (), ""), {}, ""

    monkeypatch.setattr(run, "perform", perform)
    monkeypatch.setattr(run, "mend_all", lambda _: None)
    monkeypatch.setattr(run, "commit", lambda: "abc")
    monkeypatch.setattr(
        run, "datetime", SimpleNamespace(now=lambda zone: datetime(2026, 12, 1, 2, minute, tzinfo=zone))
    )
    told = SimpleNamespace(**{**vars(SITE), **vars(site)})
    return run.execute(scenario, cast("Site", told), directory)


def strike(trace: Trace) -> None:
    trace.note(struck=True)


def interrupted(trace: Trace) -> None:
    strike(trace)
    sys.exit(1)  # what SIGTERM does to `make chaos`


def refused(_: Trace) -> None:
    raise Trouble("the operator leads on n1:\nrun it again")


def test_a_repeat_that_ends_leaves_its_result_and_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / SIGKILL.name / "1"
    assert begin(place, strike, monkeypatch) == json.loads((place / "result.json").read_text())
    assert unended(tmp_path, []) == []


def test_a_repeat_rests_once_its_result_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "api-server-down" / "1"
    rested: list[tuple[float, bool, list[Any]]] = []

    def sleep(seconds: float) -> None:
        rested.append((seconds, (place / "result.json").exists(), unended(tmp_path, [])))

    monkeypatch.setattr("tests.chaos.run.time.sleep", sleep)
    begin(place, strike, monkeypatch, scenario=SCENARIOS["api-server-down"])
    assert rested == [(60.0, True, [])]


def test_clients_are_told_of_the_pooler_once_the_stack_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []

    def target(*, is_pooled: bool) -> Target:
        done.append(is_pooled)
        return TARGET

    monkeypatch.setattr("tests.chaos.placing.change_spec", lambda _, spec: done.append(spec))
    monkeypatch.setattr(run, "take_back", lambda _: done.append("taken back"))
    monkeypatch.setattr(run, "SPEC_SECONDS", 0)
    site = SimpleNamespace(is_whole=lambda: True, target=target)
    begin(tmp_path / "row" / "1", strike, monkeypatch, scenario=SCENARIOS["pooler-sigkill"], site=site)
    assert done == [{"postgres": {"pooler": {"enabled": True}}}, True, "taken back"]


@pytest.mark.parametrize(("work", "error", "struck", "why"), [
    pytest.param(interrupted, SystemExit, True, "interrupted", id="interrupted"),
    pytest.param(refused, Trouble, False, "Trouble: the operator leads on n1: run it again", id="could not be run"),
])  # fmt: skip
def test_a_repeat_without_a_result_tells_what_it_was_of_and_outlives_the_one_that_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Any, error: Any, struck: bool, why: str
) -> None:
    place = tmp_path / SIGKILL.name / "1"
    with pytest.raises(error):
        begin(place, work, monkeypatch)
    found = unended(tmp_path, [])
    about = {"scenario": SIGKILL.name, "date": "2026-12-01T02:00:00+00:00", "commit": "abc"}
    assert found == [{**about, "images": mark_of({"images": IMAGES}), "struck": struck, "why": why}]
    when = "whose strike had begun" if struck else "before its strike"
    assert in_words(found[0]) == f"{SIGKILL.name} of 2026-12-01T02:00, {when}: {why}"

    again = begin(place, strike, monkeypatch, minute=5)
    assert json.loads((place / "result.json").read_text()) == again
    assert unended(tmp_path, [again]) == found


def test_a_repeat_that_is_killed_leaves_its_trace(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from types import SimpleNamespace
        from tests.chaos import run
        from tests.chaos.scenarios import SCENARIOS

        def killed():
            os.kill(os.getpid(), signal.SIGKILL)

        run.execute(SCENARIOS["node-cut"], SimpleNamespace(is_whole=killed), Path(sys.argv[1]))
        """
    words = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "node-cut" / "2")]
    assert subprocess.run(words, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    (found,) = unended(tmp_path, [])
    assert (found["scenario"], found["struck"], found["why"], found["images"]) == ("node-cut", False, "", "")
    assert "before its strike: killed" in in_words(found)


def test_a_result_that_is_kept_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it is written, it would hinder every later `make chaos`, which reads them all."""
    written: list[Path] = []
    monkeypatch.setattr(Path, "write_text", lambda path, _: written.append(path))
    monkeypatch.setattr(Path, "replace", lambda path, _: None)
    write_whole(tmp_path / "result.json", "{}")
    assert written == [tmp_path / "result.new"]


A_TRACE = {
    "scenario": "node-cut", "date": "2026-12-01T02:46:00+00:00", "commit": "abc", "images": "1234abcd", "struck": True,
    "why": "",
}  # fmt: skip


def test_what_was_published_as_not_ended_stays_and_nothing_that_ended_is_among_it() -> None:
    earlier = {**A_TRACE, "date": "2026-11-30T10:00:00+00:00"}
    assert beside([A_TRACE], [earlier, A_TRACE], []) == [earlier, A_TRACE]
    assert beside([A_TRACE, earlier], [], [{"scenario": "node-cut", "date": earlier["date"]}]) == [A_TRACE]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A build with three repeats that ended and one that did not, and docs in which nothing is published."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "scorecard.json").write_text("[]")
    (docs / "scorecard.md").write_text("")
    for number, each in enumerate(RUNS, 1):
        place = tmp_path / "runs" / each["scenario"] / str(number)
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps(each))
    (tmp_path / "runs" / "node-cut").mkdir()
    (tmp_path / "runs" / "node-cut" / "begun-1-20261201T024600.json").write_text(json.dumps(A_TRACE))
    monkeypatch.setattr(chaos, "BUILD", tmp_path)
    monkeypatch.setattr(chaos, "DOCS", docs)
    return docs


def test_what_did_not_end_is_published_beside_the_rows_and_outlives_its_trace(kept: Path) -> None:
    chaos.publish()
    assert json.loads((kept / "scorecard-broken.json").read_text()) == [A_TRACE]
    said = "Begun, not ended, and none of the figures ([why](scorecard-broken.json)): node-cut (2026-12-01)."
    assert said in (kept / "scorecard.md").read_text()
    assert {row["role"] for row in json.loads((kept / "scorecard.json").read_text())} == {"primary"}
    next(chaos.BUILD.glob("runs/*/begun-*.json")).unlink()
    chaos.publish()
    assert json.loads((kept / "scorecard-broken.json").read_text()) == [A_TRACE]

"""`make chaos` and `make bench-operator` refuse what they cannot do in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.chaos import __main__ as chaos
from tests.chaos import scorecard
from tests.chaos.run import check_operator, check_victim, prepare_operator
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.site import Trouble, Victim

if TYPE_CHECKING:
    from tests.chaos.site import Site

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["tests.chaos", "--cluster-name", "no-such"], "run `make up` first", id="no cluster"),
        pytest.param(["tests.chaos", "--rows", "no-such"], "no such row: no-such", id="no such row"),
        pytest.param(["bench.operator", "many"], 'make bench-operator SIZES="20 100"', id="a size that is no number"),
        pytest.param(["bench.operator", "0"], 'make bench-operator SIZES="20 100"', id="no stacks"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(words: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, cwd=ROOT, timeout=120
    )
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def a_row(name: str, gap: float, **more: Any) -> dict[str, Any]:
    each = SCENARIOS[name]
    figures = {"write_gap_s": gap, "read_gap_s": 0.1, "isolated_ack_s": None, "recovered_s": 1.0, "failed_requests": 0}
    return {
        "fault": each.fault, "role": each.role, "operator": each.operator, "service": "api", "client": "held",
        **figures, "lost_acked": 0, "duplicated": 0, "aim": {"write_gap_s": 4.0, "failed_reads": 0.0},
        "repeats": [{"promises_kept": True, "other_findings": [], "failed_reads": 0}], **more,
    }  # fmt: skip


STALE = [{"promises_kept": False, "other_findings": ["stale CHAOS-REGISTER 3"], "failed_reads": 0}]
READS = [{"promises_kept": True, "other_findings": [], "failed_reads": 2}]
UNTOLD = [{"promises_kept": True, "other_findings": []}]


@pytest.mark.parametrize(("now", "published", "words"), [
    pytest.param([a_row("node-cut", 3.0)], [], "All 1 rows keep their aims.", id="nothing is missed"),
    pytest.param([a_row("node-cut", 9.0)], [a_row("node-cut", 5.0)],
                 "1 rows miss an aim, as they do on the published card: node-cut, api, held\n", id="missed there, too"),
    pytest.param([a_row("node-cut", 9.0), a_row("tenfold", 9.0)], [a_row("node-cut", 5.0)], "node-cut, api, held\n",
                 id="a row that was not asked for"),
    pytest.param([a_row("node-cut", 3.0, repeats=READS)], [a_row("node-cut", 3.0, repeats=UNTOLD, failed_requests=3)],
                 "node-cut, api, held\n", id="an older card did not tell reads apart"),
])  # fmt: skip
def test_a_row_that_misses_what_it_misses_on_the_published_card_is_a_reproduction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], now: Any, published: Any,
    words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(chaos, "DOCS", tmp_path)
    (tmp_path / "scorecard.json").write_text(json.dumps(published))
    assert chaos.is_as_published(now, ["node-cut"])
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(("now", "published", "words"), [
    pytest.param(a_row("node-cut", 9.0), [a_row("node-cut", 4.0)], "write_gap_s 9.0 > 4", id="kept there"),
    pytest.param(a_row("node-cut", 9.0), [], "write_gap_s 9.0 > 4", id="never published"),
    pytest.param(a_row("node-cut", 9.0, repeats=READS), [a_row("node-cut", 9.0)], "failed_reads 2 > 0",
                 id="another aim"),
    pytest.param(a_row("node-cut", 3.0, repeats=READS), [a_row("node-cut", 3.0, repeats=UNTOLD)], "failed_reads 2 > 0",
                 id="no request failed on an older card"),
    pytest.param(a_row("node-cut", 9.0, repeats=STALE), [a_row("node-cut", 9.0, repeats=STALE)],
                 "stale CHAOS-REGISTER 3", id="stale, there as well"),
])  # fmt: skip
def test_a_row_that_misses_another_aim_or_breaks_a_promise_is_named_and_no_reproduction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], now: Any, published: Any,
    words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(chaos, "DOCS", tmp_path)
    (tmp_path / "scorecard.json").write_text(json.dumps(published))
    assert not chaos.is_as_published([now], ["node-cut"])
    told = capsys.readouterr().out
    assert "1 rows miss what they keep on the published card:\n  node-cut, api, held: " in told
    assert words in told


def test_a_leader_that_moved_while_the_load_started_is_not_struck_as_if_it_led() -> None:
    victim = Victim("shop-postgres-0", "node1", "10.0.0.1", ("a",), "1")
    site = Led(victim)
    check_victim(victim, SCENARIOS["node-cut"], cast("Site", site))
    site.led_by = replace(victim, pod="shop-postgres-1")
    with pytest.raises(Trouble, match="not shop-postgres-0 but shop-postgres-1"):
        check_victim(victim, SCENARIOS["node-cut"], cast("Site", site))


@pytest.mark.parametrize(("name", "operator", "is_refused"), [
    ("node-cut", "n2", False), ("node-cut", "n1", True), ("node-cut", "", True),
    ("node-cut-with-operator", "n1", False), ("node-cut-with-operator", "n2", True),
    ("node-cut-no-operator", "", False), ("redis-master-frozen", "n1", False),
])  # fmt: skip
def test_an_operator_that_leads_elsewhere_than_its_row_says_is_no_repeat_of_it(
    name: str, operator: str, is_refused: bool
) -> None:
    with pytest.raises(Trouble, match="run it again") if is_refused else nullcontext():
        check_operator(SCENARIOS[name], {"victim": "n1", "operator": operator})


@pytest.mark.parametrize(("name", "is_moved"), [("node-cut", True), ("redis-master-frozen", False)])
def test_the_operator_is_brought_off_the_node_only_where_a_node_is_lost(
    monkeypatch: pytest.MonkeyPatch, name: str, is_moved: bool
) -> None:
    moved: list[str] = []
    monkeypatch.setattr("tests.chaos.faults.bring_operator_off", lambda _, node: moved.append(node))
    site = cast("Site", SimpleNamespace(is_whole=lambda: True))
    prepare_operator(SCENARIOS[name], site, Victim("shop-postgres-0", "n1", "", (), ""))
    assert moved == ["n1"] * is_moved


@dataclass
class Led:
    """A site as far as it says who leads."""

    led_by: Victim

    def leader(self, _: str) -> Victim:
        return self.led_by


def test_a_scorecard_of_no_runs_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chaos, "BUILD", tmp_path)
    monkeypatch.setattr(sys, "argv", ["chaos", "--publish"])
    assert not chaos.compare(["node-cut"])
    monkeypatch.setattr(chaos, "write_scorecard", lambda: ([], []))
    monkeypatch.setattr(scorecard, "of_scenarios", lambda *_: [])
    assert not chaos.compare(["node-cut"]), "what was never published is not reproduced"
    told = capsys.readouterr().out
    assert "docs/scorecard.json is not reproduced" in told
    assert "0 medians compared" in told
    with pytest.raises(SystemExit):
        chaos.main()
    assert f"no run of a row is kept in {tmp_path}" in capsys.readouterr().err

"""`make chaos` and `make bench-operator` refuse what they cannot do in a sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from appstack_lab.failures import LabError
from appstack_lab.up import demo
from tests.chaos import __main__ as chaos
from tests.chaos import run, scorecard
from tests.chaos.clients import api, rabbitmq, redis, sql
from tests.chaos.load import STEADY
from tests.chaos.run import check_places, check_victim, prepare_operator
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.site import Site, Trouble, Victim

if TYPE_CHECKING:
    from tests.chaos.clients.target import Target

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


def test_without_the_access_that_make_up_writes_a_cluster_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another clone than the one it was made from, say: kubectl would ask localhost."""
    monkeypatch.setattr("tests.chaos.site.state.require_cluster", lambda _: None)
    with pytest.raises(LabError, match="`make up KIND_NAME=other` writes it"):
        Site.at("other", tmp_path / "kubeconfig", "shop")


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
        check_places(SCENARIOS[name], {"victim": "n1", "operator": operator, "rabbitmq": "n1", "api": ["n1", "n2"]})


@pytest.mark.parametrize(("name", "rabbitmq", "api", "is_refused"), [
    ("node-cut", "n1", ["n1", "n2"], False), ("node-cut", "n2", ["n1", "n2"], True),
    ("node-cut", "n1", ["n2", "n3"], True), ("redis-master-frozen", "n2", ["n2", "n3"], False),
])  # fmt: skip
def test_an_api_or_a_queue_that_is_not_on_the_lost_node_is_no_repeat_either(
    name: str, rabbitmq: str, api: list[str], is_refused: bool
) -> None:
    where = {"victim": "n1", "operator": "n2", "rabbitmq": rabbitmq, "api": api}
    with pytest.raises(Trouble, match="run it again") if is_refused else nullcontext():
        check_places(SCENARIOS[name], where)


@pytest.mark.parametrize(("name", "is_moved"), [("node-cut", True), ("redis-master-frozen", False)])
def test_the_operator_is_brought_off_the_node_only_where_a_node_is_lost(
    monkeypatch: pytest.MonkeyPatch, name: str, is_moved: bool
) -> None:
    moved: list[str] = []
    monkeypatch.setattr("tests.chaos.placing.bring_operator_off", lambda _, node: moved.append(node))
    site = cast("Site", SimpleNamespace(is_whole=lambda: True))
    prepare_operator(SCENARIOS[name], site, Victim("shop-postgres-0", "n1", "", (), ""))
    assert moved == ["n1"] * is_moved


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A command whose stack has this many foreign products; it notes which runs begin and whether it cleans up."""
    found: dict[str, Any] = {"foreign": (0, ""), "runs": [], "cleaned": []}
    site = SimpleNamespace(target=lambda: "target", images=dict)
    monkeypatch.setattr(chaos, "BUILD", tmp_path)
    monkeypatch.setattr(Site, "at", lambda *_: site)
    monkeypatch.setattr(chaos, "mend_leftovers", lambda _: [])
    monkeypatch.setattr(chaos, "foreign_products", lambda _: found["foreign"])
    monkeypatch.setattr(chaos, "attempt", lambda _, *each: found["runs"].append(each) or True)
    monkeypatch.setattr(chaos, "clean_up", found["cleaned"].append)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return found


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["chaos", "--rows", "node-cut", "--repeats", "1", *words])
    return chaos.main()


def test_a_catalogue_that_others_have_filled_is_not_emptied_unasked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], catalogue: dict[str, Any]
) -> None:
    catalogue["foreign"] = (3, "SHOE-42")
    assert command(monkeypatch) == 1
    assert (catalogue["runs"], catalogue["cleaned"]) == ([], [])
    told = capsys.readouterr().err
    assert "holds 3 products" in told
    assert "such as SHOE-42" in told
    assert "CHAOS_ARGS=--empty-catalogue" in told
    command(monkeypatch, "--empty-catalogue")
    assert catalogue["runs"] == [("node-cut", 1)]


def test_the_demo_and_what_the_clients_wrote_are_nobodys_catalogue() -> None:
    assert all(re.fullmatch(run.DEMO, demo.sku(number)) for number in (1, demo.ROWS))
    assert not re.search(run.DEMO, "DEMO-SHOE")
    assert all(api.sku_of(f"{kind}.7").startswith(api.SKU) for kind in ("api-writer", "api-reconnecting-writer"))
    assert "api-import" in STEADY, "which names its feeds' rows after itself"


def test_what_the_clients_wrote_is_removed_in_the_end(
    monkeypatch: pytest.MonkeyPatch, catalogue: dict[str, Any]
) -> None:
    command(monkeypatch)
    assert (catalogue["runs"], catalogue["cleaned"]) == ([("node-cut", 1)], ["target"])


def test_what_was_begun_and_did_not_end_is_told_and_done_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], catalogue: dict[str, Any]
) -> None:
    with pytest.raises(AttributeError):  # this site has nothing that could be whole
        run.execute(SCENARIOS["node-cut"], cast("Site", None), chaos.place("node-cut", 1))
    command(monkeypatch)
    told = capsys.readouterr().out
    assert re.search("^begun, not ended: node-cut of .*, before its strike: AttributeError: ", told, re.MULTILINE)
    assert catalogue["runs"] == [("node-cut", 1)]


def test_all_that_the_clients_wrote_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []

    class Connection:
        def __init__(self, *_: object) -> None: ...

        def run(self, query: str, _: object) -> None:
            done.append(query)

        def close(self) -> None:
            done.append("closed")

    async def connect(_: str) -> tuple[None, Any]:
        async def queue_delete(name: str) -> None:
            done.append(f"queue {name}")

        return None, SimpleNamespace(queue_delete=queue_delete)

    monkeypatch.setattr(sql, "Connection", Connection)
    monkeypatch.setattr(rabbitmq, "connect", connect)
    for room in (api, redis):
        monkeypatch.setattr(room, "prepare", lambda place: done.append(place))
    target = SimpleNamespace(postgres=SimpleNamespace(host="h"), redis="keys", amqp_url="amqp://x")
    run.clean_up(cast("Target", target))
    assert "DROP TABLE IF EXISTS chaos_lists" in done
    assert any("TRUNCATE products" in str(each) for each in done)
    assert {"queue chaos", "keys"} <= {each for each in done if isinstance(each, str)}
    assert target in done, "the registers, by the API"


def test_every_word_on_the_command_says_that_it_empties_the_catalogue() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "empties the stack's catalogue" in " ".join(done.stdout.split())
    for name in ("CONTRIBUTING.md", "README.md"):
        assert "empties the stack's catalogue" in (ROOT / name).read_text(), name
    helped = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("chaos:"))
    assert "whose catalogue it empties" in helped


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

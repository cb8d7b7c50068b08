"""`make chaos`: runs rows of the scorecard, those that are still missing, and writes the scorecard anew after each.

Each run empties the stack's catalogue (products, stock and imports).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from appstack_lab.failures import LabError
from tests.chaos import begun, brief, comparing, page, plots, scorecard
from tests.chaos.faults import mend_leftovers
from tests.chaos.run import TROUBLE, clean_up, commit, execute, foreign_products, in_a_line, patiently
from tests.chaos.scenarios import CORE, SCENARIOS
from tests.chaos.site import Site, Trouble

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "chaos"
DOCS = ROOT / "docs"


VERDICT = """
Ends with 0 also where rows miss an aim, if these miss it on the published card (docs/scorecard.json) as well; with 1
where one misses another aim, where anything was lost, done twice or stale that the page does not excuse (Redis), and
where a row could not be run.
"""


def main() -> int:
    """Run what is asked for; 1 if a row of it could not be run, or misses what the published card does not."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__, epilog=VERDICT)
    parser.add_argument("--cluster-name", default="appstack")
    parser.add_argument("--namespace", default="shop")
    parser.add_argument("--kubeconfig", type=Path, help="default: what `make up` wrote for this cluster")
    parser.add_argument("--rows", default="", help=f"comma-separated; empty: the core; any of {', '.join(SCENARIOS)}")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compare", action="store_true", help="only say whether docs/scorecard.json is reproduced")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write docs/scorecard.* from what was run; published rows stay until run with other images",
    )
    parser.add_argument(
        "--empty-catalogue",
        action="store_true",
        help="go on where the catalogue holds what neither this nor the demo of `make up` has brought: it will be gone",
    )
    args = parser.parse_args()
    names = [name for name in args.rows.split(",") if name] or CORE
    unknown = sorted(set(names) - set(SCENARIOS))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    if args.publish:
        if not runs():
            parser.error(f"no run of a row is kept in {BUILD}: run make chaos first")
        publish()
        return 0
    if args.compare:
        return 0 if compare(names) else 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an interrupted run mends its fault
    try:
        kubeconfig = args.kubeconfig or ROOT / "build" / "clusters" / args.cluster_name / "kubeconfig"
        site = Site.at(args.cluster_name, kubeconfig, args.namespace)
    except LabError as absent:
        print(
            f"make chaos: {absent}\nIt breaks the nodes of a cluster of the lab: run `make up` first.", file=sys.stderr
        )
        return 1
    refusal = why_not(names, site)
    if refusal:
        print(f"make chaos: {refusal}", file=sys.stderr)
        return 1
    tell_unended()
    try:
        for words in mend_leftovers(site):
            print(f"mended what an earlier run had left: {words}", flush=True)
        print(scorecard.mixed([*runs(), {"commit": commit(), "images": site.images()}]), end="", flush=True)
        todo = plan(names, args.repeats)
        refusal = "" if args.empty_catalogue or not todo else why_not_empty(*patiently(partial(foreign_of, site)))
    except (Trouble, LabError, *TROUBLE) as error:
        print(f"make chaos: {error}", file=sys.stderr)
        return 1
    if refusal:
        print(f"make chaos: {refusal}", file=sys.stderr)
        return 1
    failures = [each for each in todo if not attempt(site, *each)]
    if todo:
        leave(site)
    compare(names)
    for name, number in failures:
        print(f"could not be run: {name}, repeat {number}: {place(name, number)}/error.txt", file=sys.stderr)
    return 0 if is_as_published(write_scorecard()[0], names) and not failures else 1


def is_as_published(rows: list[dict[str, Any]], names: list[str]) -> bool:
    """Tell which rows of what was asked for miss an aim; whether their published rows miss it as well.

    Others that were run before are not its business.
    """
    ours = scorecard.of_scenarios(rows, names)
    known, new = comparing.misses(ours, json.loads((DOCS / "scorecard.json").read_text()))
    if known:
        print(f"{len(known)} rows miss an aim, as they do on the published card: {'; '.join(known)}", flush=True)
    if new:
        print(f"{len(new)} rows miss what they keep on the published card:", *new, sep="\n  ", flush=True)
    if not known and not new:
        print(f"All {len(ours)} rows keep their aims.", flush=True)
    return not new


def why_not(names: list[str], site: Site) -> str:
    """Why these rows cannot be run on this cluster, and what to do; empty where they can."""
    limited = [name for name in names if SCENARIOS[name].needs_limited_volumes]
    if not limited or site.cluster.volume_size:
        return ""
    return (
        f"{', '.join(limited)} fills a disk, and the volumes of cluster {site.cluster.name} have no limit. Make "
        "another one: `.venv/bin/lab create cluster --name full --volume-size 6Gi`, `make up KIND_NAME=full`, "
        f"`make chaos KIND_NAME=full ROWS={','.join(limited)}`."
    )


def foreign_of(site: Site) -> tuple[int, str]:
    return foreign_products(site.target())


def why_not_empty(foreign: int, sku: str) -> str:
    """Why the catalogue may not be emptied unasked, and what to do; empty where nobody would miss it."""
    if not foreign:
        return ""
    return (
        f"every run empties the stack's catalogue (products, stock and imports), and it holds {foreign} products that "
        f"neither `make chaos` nor the demo of `make up` has brought, such as {sku}. Use another stack, or say that "
        "they may go: `make chaos CHAOS_ARGS=--empty-catalogue`."
    )


def leave(site: Site) -> None:
    """Remove what the clients have written; what cannot be removed is told and stays until the next run."""
    try:
        clean_up(patiently(site.target))
    except (Trouble, LabError, *TROUBLE) as error:
        print(f"what the clients wrote was not all removed, the next run will: {in_a_line(error)}", file=sys.stderr)


def plan(names: list[str], repeats: int) -> list[tuple[str, int]]:
    """What is still to run: round by round, so that an interrupted evening has something of everything."""
    return [(name, n) for n in range(1, repeats + 1) for name in names if not (place(name, n) / "result.json").exists()]


def place(name: str, number: int) -> Path:
    return BUILD / ("controls" if SCENARIOS[name].is_control else "runs") / name / str(number)


def attempt(site: Site, name: str, number: int) -> bool:
    """Run one repeat and tell its figures; whether it could be run, and a control found its loss."""
    print(f"{name} #{number} …", flush=True)
    try:
        result = execute(SCENARIOS[name], site, place(name, number))
    except Exception:
        (place(name, number) / "error.txt").write_text(traceback.format_exc())
        print("   " + traceback.format_exc().strip().splitlines()[-1], flush=True)
        return False
    if result["trouble"]:
        print(f"   ended badly: {result['trouble']}", flush=True)
    for row in result["rows"]:
        print("   " + one_line(row), flush=True)
    if SCENARIOS[name].is_control:
        return any(row["lost_acked"] and not row["passed"] for row in result["rows"] if row["service"] == "postgres")
    write_scorecard()
    return True


def one_line(row: dict[str, Any]) -> str:
    """The figures of a row for the terminal."""
    seconds = {key: "-" if row[key] is None else f"{row[key]:.1f}" for key in scorecard.TIMES}
    return (
        f"{row['service']:9} {row['client']:13} write {seconds['write_gap_s']:>5} read {seconds['read_gap_s']:>5} "
        f"isolated {seconds['isolated_ack_s']:>4} whole {seconds['recovered_s']:>5} lost {row['lost_acked']} "
        f"twice {row['duplicated']} failed {row['failed_requests']}{of_reads(row)} slow {row['slow_requests']} "
        f"{'ok' if row['passed'] else 'MISSED'}{by_masters(row)} {' '.join(row['other_findings'][:2])}"
    )


def of_reads(row: dict[str, Any]) -> str:
    """How many reads of this kind of client were among the requests that failed; empty for what is not the API's."""
    return "" if row["failed_reads"] is None else f" (own reads {row['failed_reads']})"


def by_masters(row: dict[str, Any]) -> str:
    """What the histories say of Redis' masters, and of readers inside the cut; empty where there is nothing to say."""
    found, inside = row["masters"] or {"reigns": 0}, row["isolated_stale_s"]
    told = f" old inside {inside:.1f}" if inside is not None else ""
    if found["reigns"] < 2:
        return told
    return (
        f"{told} masters {found['reigns']}, acknowledged {found['acknowledged']}, lost in flight "
        f"{found['lost_in_flight']}, by lag {found['lost_within_lag']}, unexplained {found['lost_unexplained']}, "
        f"two writers {found['two_writers_s']:.1f} s ({found['beside']}), "
        f"stale {found['stale_reads']} ({found['stale_s']:.1f} s)"
    )


def runs() -> list[dict[str, Any]]:
    """Every run whose result is kept."""
    return [json.loads(path.read_text()) for path in sorted(BUILD.glob("runs/*/*/result.json"))]


def tell_unended() -> list[begun.Begun]:
    """Tell, and return, which repeats began and did not end: done again or not, they were begun."""
    found = begun.unended(BUILD / "runs", runs())
    for each in found:
        print(f"begun, not ended: {begun.in_words(each)}", flush=True)
    return found


def write_scorecard() -> tuple[list[dict[str, Any]], list[str]]:
    """build/chaos/scorecard.json of all runs so far; the rows, and the scenario of each."""
    rows, names = scorecard.rows_of_runs(runs())
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "scorecard.json").write_text(scorecard.as_text(rows))
    return rows, names


def compare(names: list[str]) -> bool:
    """Tell whether what has been run so far reproduces these rows of the committed scorecard."""
    committed = json.loads((DOCS / "scorecard.json").read_text())
    told = [f"{name}: not published" for name in names if not scorecard.of_scenarios(committed, [name])]
    both = [scorecard.of_scenarios(rows, names) for rows in (write_scorecard()[0], committed)]
    told += comparing.differences(*both)
    verdict = "not reproduced" if told else "reproduced"
    print(
        f"docs/scorecard.json is {verdict}, of its faults the {len(names)} that were asked for: {comparing.REPRODUCED}",
        comparing.extent(*both),
        *told,
        sep="\n  ",
        flush=True,
    )
    return not told


def publish() -> None:
    """docs/scorecard*.json, its two pages and the timelines; rows that were published before and not run stay."""
    fresh, before = runs(), json.loads((DOCS / "scorecard.json").read_text())
    # A list of its own: the keys of a row are a contract, and a repeat without figures is in no row.
    list_ = DOCS / "scorecard-broken.json"
    broken = begun.beside(
        json.loads(list_.read_text()) if list_.exists() else [],
        tell_unended(),
        [*scorecard.published(before), *fresh],
    )
    list_.write_text(json.dumps(broken, indent=1) + "\n")
    for row in before:
        if not scorecard.scenario_of(row):
            print(f"left out, there is no such fault any more: {', '.join(row[key] for key in scorecard.IDENTITY)}")
    found = scorecard.together(scorecard.published(before), fresh)
    rows, names = scorecard.rows_of_runs(found)
    loads = [run["load_average"] for run in found]
    days = sorted({run["date"][:10] for run in found})
    machine = (
        f"Measured on the three-node lab on one machine with {os.cpu_count()} processors, "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}, at load averages of {min(loads):.0f} to {max(loads):.0f} "
        f"(the load itself, the whole stack and its cluster included). {scorecard.provenance(found)}"
        f"{begun.in_short(broken)}"
    )
    (DOCS / "scorecard.json").write_text(scorecard.as_text(rows))
    card = DOCS / "scorecard.md"
    card.write_text(brief.brief(rows, names, machine, brief.notes_of(card.read_text())))
    (DOCS / "scorecard-rows.md").write_text(page.page(rows, names, machine))
    (DOCS / "scorecard").mkdir(exist_ok=True)
    for plot in (DOCS / "scorecard").glob("*.svg"):
        if plot.stem not in names:
            plot.unlink()
    for name in dict.fromkeys(run["scenario"] for run in fresh):
        of_name = [run for run in found if run["scenario"] == name and "timelines" in run]
        title = f"{name}: {SCENARIOS[name].fault}"
        run, which = scorecard.typical(of_name, SCENARIOS[name].service)
        (DOCS / "scorecard" / f"{name}.svg").write_text(plots.plot(title, run, which))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench NAME…`: run benchmarks, write build/bench/NAME.json; `table`: write docs/bench-backend.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bench import bulk
from bench.dead_redis import dead_redis
from bench.measure import FOLDER, write
from bench.requests import requests
from bench.site import site

BENCHMARKS = {
    "import": bulk.imports,
    "export": bulk.export,
    "memory": bulk.memory,
    "export-memory": bulk.export_memory,
    "requests": requests,
    "dead-redis": dead_redis,
}
PAGE = FOLDER.parent.parent / "docs" / "bench-backend.md"
NOTES = Path(__file__).parent / "notes.md"


def table() -> str:
    """docs/bench-backend.md, from the documents of the last runs; what was not measured here stays as it was."""
    lines = [
        "# Benchmarks of the backend",
        "",
        "Written by `make bench` from `build/bench/*.json`. Ours and its baseline take turns on the same servers in",
        "one run; value and baseline are medians, with their spread (smallest to largest). The CPU ratio compares CPU",
        "seconds of the server's process per request, baseline over ours: other work on the machine moves it less.",
        "PostgreSQL syncs to disk and has no standby; all servers and clients share one machine.",
        "",
    ]
    published = sections(PAGE.read_text() if PAGE.exists() else "")
    for name in BENCHMARKS:
        path = FOLDER / f"{name}.json"
        section = measured(name, json.loads(path.read_text())) if path.exists() else published.get(name, [])
        lines += [*section, ""] if section else []
    return "\n".join(lines).rstrip() + "\n\n" + NOTES.read_text()


def sections(page: str) -> dict[str, list[str]]:
    """The lines of each section of the page, by its name."""
    found: dict[str, list[str]] = {}
    for line in page.rstrip().splitlines():
        if line.startswith("## "):
            found[line.removeprefix("## ")] = section = []
        if found:
            section.append(line)
    return {name: "\n".join(lines).rstrip().splitlines() for name, lines in found.items()}


def measured(name: str, document: dict[str, Any]) -> list[str]:
    """The section of a benchmark, from its document."""
    lines = [f"## {name}", ""]
    lines += [f"{document['measured_at'][:16]}, {document['machine']}, load {document['load'][0]} at the end.", ""]
    lines += ["| what | unit | median (spread) | against | median (spread) | ratio | aim | CPU ratio | n |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for f in document["figures"]:
        spread, base = f["spread"], f["baseline_spread"]
        lines.append(
            f"| {f['name']} | {f['unit']} "
            f"| {shown(f['value'], *spread)} | {f['against']} | "
            f"{shown(f['baseline'], *base)} | {f['ratio']:.2f} | {f['aim'] or ''} | "
            f"{f['cpu_ratio'] or ''} | {len(f['runs'])} |"
        )
    return lines


def shown(value: float, smallest: float, largest: float) -> str:
    """A median with its spread."""
    digits = 0 if value >= 100 else 2
    return f"{value:,.{digits}f} ({smallest:,.{digits}f}-{largest:,.{digits}f})"


def main(names: list[str]) -> int:
    unknown = set(names) - BENCHMARKS.keys() - {"table"}
    if unknown or not names:
        sys.stderr.write(f"benchmarks: {', '.join(BENCHMARKS)}, table\n")
        return 2
    if set(names) - {"table"}:
        with site() as servers:
            for name in names:
                if name != "table":
                    path = write(name, BENCHMARKS[name](servers))
                    sys.stdout.write(f"{path}\n")
    if "table" in names:
        PAGE.write_text(table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

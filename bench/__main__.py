"""`python -m bench NAME…`: run benchmarks, write build/bench/NAME.json; `table`: write docs/bench-backend.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

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
    """docs/bench-backend.md, from the documents of the last runs."""
    lines = [
        "# Benchmarks of the backend",
        "",
        "Written by `make bench` from `build/bench/*.json`. Ours and its baseline take turns on the same servers in",
        "one run; value and baseline are medians, with their spread (smallest to largest). The CPU ratio compares CPU",
        "seconds of the server's process per request, baseline over ours: other work on the machine moves it less.",
        "PostgreSQL syncs to disk and has no standby; all servers and clients share one machine.",
        "",
    ]
    for name in BENCHMARKS:
        path = FOLDER / f"{name}.json"
        if not path.exists():
            continue
        document = json.loads(path.read_text())
        lines += [f"## {name}", ""]
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
        lines.append("")
    return "\n".join(lines).rstrip() + "\n\n" + NOTES.read_text()


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

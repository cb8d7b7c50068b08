"""Figures: repetitions, medians, and the JSON document of a benchmark."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "build" / "bench"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Figure:
    """One comparison: what was measured, against what, in the same run."""

    name: str
    unit: str
    against: str
    runs: list[float] = field(default_factory=list)
    baseline_runs: list[float] = field(default_factory=list)
    aim: float | None = None
    cpu_ratio: float | None = None  # of CPU seconds per unit of work, baseline over ours: 1 is as cheap

    def document(self) -> dict[str, object]:
        """With median, spread (smallest and largest) and the ratio of the medians."""
        value, baseline = statistics.median(self.runs), statistics.median(self.baseline_runs)
        return {
            **asdict(self),
            "value": round(value, 3),
            "baseline": round(baseline, 3),
            "ratio": round(value / baseline, 3) if baseline else None,
            "spread": [round(min(self.runs), 3), round(max(self.runs), 3)],
            "baseline_spread": [round(min(self.baseline_runs), 3), round(max(self.baseline_runs), 3)],
        }


def write(benchmark: str, figures: list[Figure]) -> Path:
    """Write build/bench/BENCHMARK.json."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{benchmark}.json"
    document = {
        "name": benchmark,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "load": [round(load, 1) for load in os.getloadavg()],
        "figures": [figure.document() for figure in figures],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(values[11]) + int(values[12])) / CLOCK_TICKS


def peak_mebibytes(pid: int) -> float:
    """The largest resident size of a process so far."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

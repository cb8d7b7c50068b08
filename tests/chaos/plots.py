"""Timelines as SVG: successes above the line, failures below it, marks where roles moved. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, LEFT, RIGHT = 900, 110, 10
HEIGHT, TOP, BOTTOM = 74, 76, 34  # of one service; above and below all
GOOD, BAD, MARK, QUIET = "#2a7f62", "#c0392b", "#1f4e8c", "#8a8a8a"
LEGEND = "green: operations served a second, red: failed"
NAMES = {"postgres": "PostgreSQL", "redis": "Redis", "rabbitmq": "RabbitMQ", "api": "API"}


def plot(title: str, run: dict[str, Any], which: str = "") -> str:
    """The timeline of a run: one lane per service; `which` says of its scenario's runs it is."""
    lanes = run["timelines"]
    begin = -5.0
    end: float = max(5.0, *(lane[-1][0] for lane in lanes.values() if lane))
    height = TOP + HEIGHT * len(lanes) + BOTTOM

    def x(seconds: float) -> float:
        return round(LEFT + (seconds - begin) / (end - begin) * (WIDTH - LEFT - RIGHT), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        text(LEFT, 16, title, size=14),
        text(LEFT, 32, f"{run['date'][:10]}, {which}{run['victim']} on {run['node']}; {LEGEND}", fill=QUIET),
    ]
    base = TOP + HEIGHT * len(lanes)
    for number, (service, lane) in enumerate(lanes.items()):
        parts += lane_of(NAMES.get(service, service), lane, TOP + HEIGHT * number, x)
    parts += axis(begin, end, base, x)
    parts += marks_of(run, end, base, x)
    return "\n".join([*parts, "</svg>"]) + "\n"


def lane_of(name: str, lane: Sequence[Sequence[float]], top: float, x: Any) -> list[str]:
    """One service: an area of successes upwards, bars of failures downwards, on one scale."""
    most = max([1.0, *(max(point[1], point[2]) for point in lane)])
    middle, up, down = top + 50.0, 44.0, 18.0
    step = lane[1][0] - lane[0][0] if len(lane) > 1 else 1.0
    outline = [f"{x(lane[0][0] - step / 2)},{middle}"]
    for at, good, _ in lane:
        level = round(middle - up * good / most, 1)
        outline += [f"{x(at - step / 2)},{level}", f"{x(at + step / 2)},{level}"]
    outline.append(f"{x(lane[-1][0] + step / 2)},{middle}")
    bars = [
        f'<rect x="{x(at - step / 2)}" y="{middle}" width="{round(x(at + step / 2) - x(at - step / 2), 1)}" '
        f'height="{round(max(2.0, min(down, up * bad / most)), 1)}" fill="{BAD}"/>'
        for at, _, bad in lane
        if bad
    ]
    return [
        text(8, middle - 18, name, size=12),
        text(8, middle - 4, f"up to {most:.0f}/s", fill=QUIET),
        f'<polygon points="{" ".join(outline)}" fill="{GOOD}" fill-opacity="0.75"/>',
        *bars,
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}" stroke="{QUIET}"/>',
    ]


def axis(begin: float, end: float, base: float, x: Any) -> list[str]:
    """Seconds since the fault."""
    step = 5 if end <= 60 else 10
    ticks = range(int(begin // step * step), int(end) + 1, step)
    labels = [text(x(tick), base + 16, f"{tick} s", anchor="middle", fill=QUIET) for tick in ticks if tick >= begin]
    return [*labels, text(LEFT, base + 30, "seconds since the fault", fill=QUIET)]


def marks_of(run: dict[str, Any], end: float, base: float, x: Any) -> list[str]:
    """The fault, its mending, and every role that moved."""
    marks = [(0.0, "fault", BAD)]
    if run["mended_s"] is not None:
        marks.append((run["mended_s"], "mended", GOOD))
    marks += [(at, f"{role}: {short(pod)}", MARK) for at, role, pod in run["roles"]]
    parts, last = [], [-1e9] * 3
    for at, words, colour in sorted(marks):
        if at > end:
            continue
        row = next((n for n, taken in enumerate(last) if x(at) >= taken), 2)
        last[row] = x(at) + 6.2 * len(words) + 8
        dash = "" if colour != MARK else ' stroke-dasharray="4 3"'
        parts.append(f'<line x1="{x(at)}" x2="{x(at)}" y1="{TOP - 24}" y2="{base}" stroke="{colour}"{dash}/>')
        parts.append(text(x(at) + 3, TOP - 28 + 11 * row, words, fill=colour))
    return parts


def short(pod: str) -> str:
    """shop-postgres-1 -> 1."""
    return " and ".join(each.rpartition("-")[2] for each in pod.split())


def text(x: float, y: float, words: str, *, size: int = 11, fill: str = "#222", anchor: str = "start") -> str:
    place = f'x="{x}" y="{round(y, 1)}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} fill="{fill}">{escape(words)}</text>'

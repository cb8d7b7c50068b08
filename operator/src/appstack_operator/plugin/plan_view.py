"""A forecast as people read it, and as programs do. Pure."""

import difflib
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from appstack_operator.desired.stack import Stage
from appstack_operator.objects import Object
from appstack_operator.plan import Impact, Verb
from appstack_operator.plugin.differences import ABSENT, Difference
from appstack_operator.plugin.forecast import Change, Forecast
from appstack_operator.plugin.text import Palette, Tone, plain

HEADINGS = {
    Stage.CREDENTIALS: "first: credentials",
    Stage.DATA_SERVICES: "data services",
    Stage.ENVIRONMENT: "the backend's environment",
    Stage.MIGRATIONS: "once the data services serve: migration",
    Stage.BACKEND: "once the migration has succeeded: API and workers",
    Stage.CRON_JOBS: "once those are rolled out: scheduled jobs, and what is no longer asked for",
}
SIGNS = {
    Verb.CREATE: "+",
    Verb.APPLY: "~",
    Verb.SCALE: "~",
    Verb.SUSPEND: "~",
    Verb.DELETE: "-",
    Verb.RESTART: "*",
    Verb.EVICT: "*",
    Verb.GROW: "~",
    Verb.LABEL: "~",
    Verb.REPLACE: "~",
    Verb.MARK: "~",
}
TONES = {Impact.ROLLING: Tone.CARE, Impact.FAILOVER: Tone.BAD, Impact.DESTRUCTIVE: Tone.BAD}
LONGEST_VALUE = 120


def word(impact: Impact) -> str:
    """The class of an action: no-op, in-place, rolling, failover, destructive."""
    return impact.name.lower().replace("_", "-")


def render_forecast(forecast: Forecast, palette: Palette) -> Iterator[str]:
    """Line by line: the sum, what changes in the spec, and the actions in the order of their stages."""
    yield palette.paint(headline(forecast), Tone.STRONG)
    for note in forecast.notes:
        yield palette.paint(f"  ! {plain(note)}", Tone.CARE)
    for difference in forecast.spec:
        yield from render_difference(difference, "  ", palette)
    wide = max((len(str(change.action.target)) for change in forecast.changes), default=0)
    for stage, changes in groupby(forecast.changes, key=lambda change: change.action.stage):
        yield ""
        yield palette.paint(HEADINGS[stage], Tone.FAINT)
        for change in changes:
            yield from render_change(change, wide, palette)


def headline(forecast: Forecast) -> str:
    """How much is to be done, and how bad it gets."""
    name = f"AppStack {forecast.stack.namespace}/{forecast.stack.name}"
    count = len(forecast.changes)
    if not count and forecast.is_blocked:
        return f"{name}: blocked"
    if not count:
        return f"{name}: nothing to do"
    what = "1 action" if count == 1 else f"{count} actions"
    if forecast.is_new:
        return f"{name} is new: {what}"
    if forecast.stack.spec.paused:
        return f"{name} is paused: {what} wait"
    return f"{name}: {what}, {word(forecast.impact)}" + (" at worst" if count > 1 else "")


def render_change(change: Change, wide: int, palette: Palette) -> Iterator[str]:
    """One action and what differs."""
    action = change.action
    impact = palette.paint(f"{word(action.impact):<11}", TONES.get(action.impact, Tone.PLAIN))
    yield f"  {SIGNS[action.verb]} {action.target!s:<{wide}}  {impact}  {plain(action.why)}"
    for difference in change.differences:
        yield from render_difference(difference, "      ", palette)


def render_difference(difference: Difference, indent: str, palette: Palette) -> Iterator[str]:
    """before -> after on one line; longer texts as a unified diff."""
    before, after = difference.before, difference.after
    if any(isinstance(side, str) and "\n" in side for side in (before, after)):
        yield f"{indent}{difference.path}:"
        for line in lines_of_diff(before, after):
            tone = {"+": Tone.GOOD, "-": Tone.BAD}.get(line[:1], Tone.FAINT)
            yield palette.paint(f"{indent}  {plain(line)}", tone)
        return
    sides = palette.paint(shown(before), Tone.BAD), palette.paint(shown(after), Tone.GOOD)
    yield f"{indent}{difference.path}: {sides[0]} -> {sides[1]}"


def lines_of_diff(before: Any, after: Any) -> Iterator[str]:
    """The lines of a text that differ, with two around them."""
    old, new = (side.splitlines() if isinstance(side, str) else [] for side in (before, after))
    yield from list(difflib.unified_diff(old, new, n=2, lineterm=""))[2:]


def shown(value: Any) -> str:
    """A value on one line, cut where it is long."""
    if value is ABSENT:
        return repr(value)
    text = plain(value) if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"


def forecasts_as_json(forecasts: Sequence[Forecast]) -> Object:
    """All forecasts, for programs."""
    return {"stacks": [as_json(forecast) for forecast in forecasts]}


def as_json(forecast: Forecast) -> Object:
    """One forecast; values of Secrets are masked in it already."""
    return {
        "namespace": forecast.stack.namespace,
        "name": forecast.stack.name,
        "isNew": forecast.is_new,
        "isPaused": forecast.stack.spec.paused,
        "isBlocked": forecast.is_blocked,
        "impact": word(forecast.impact),
        "notes": list(forecast.notes),
        "spec": [each.as_json() for each in forecast.spec],
        "actions": [
            {
                "verb": change.action.verb.value,
                "kind": change.action.target.kind,
                "name": change.action.target.name,
                "impact": word(change.action.impact),
                "stage": change.action.stage.name.lower().replace("_", "-"),
                "why": change.action.why,
                "differences": [each.as_json() for each in change.differences],
            }
            for change in forecast.changes
        ],
    }

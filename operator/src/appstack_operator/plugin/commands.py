"""The commands: read the cluster, hand what was read to the pure rooms, and choose the exit code."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from typing import Any, TextIO

from pydantic import ValidationError

from appstack_operator.api import AppStack
from appstack_operator.client import Api
from appstack_operator.objects import Object
from appstack_operator.observe import observe_kubernetes
from appstack_operator.plan import Impact
from appstack_operator.plugin.cluster import check_kind, connect, find_stack, get_stack
from appstack_operator.plugin.dry_run import Applying, dry_run
from appstack_operator.plugin.errors import UserError
from appstack_operator.plugin.forecast import Forecast, build_forecast
from appstack_operator.plugin.look import look
from appstack_operator.plugin.manifests import namespace_of, read_stacks
from appstack_operator.plugin.operator_sign import look_for_operator
from appstack_operator.plugin.operators import find_operator, find_settings
from appstack_operator.plugin.plan_view import forecasts_as_json, render_forecast
from appstack_operator.plugin.stack_report import Report, build_report, report_as_json
from appstack_operator.plugin.status_view import render_report
from appstack_operator.plugin.text import Palette


class ExitCode(IntEnum):
    """What a CI job can decide by."""

    FINE = 0  # nothing to do; ready
    ERROR = 1  # no answer to the question: bad input, a refused manifest, no cluster
    CHANGES = 2  # in-place or rolling actions; not ready, and the operator is at work
    DISRUPTIVE = 3  # failover, destructive or blocked; not ready, stalled or unminded: somebody has to act


EXIT_CODES = {
    "plan": """exit codes: 0 nothing to do, 1 error or refused manifest, 2 changes (in-place, rolling),
            3 disruptive changes (failover, destructive), or blocked until somebody acts (a missing Secret)""",
    "status": """exit codes: 0 ready by this very spec, 1 error, 2 on the way there,
            3 stalled, not ready, or no operator is at work, so that the status may be out of date""",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command says, in each form."""

    code: int
    as_json: dict[str, Any]
    lines: Callable[[Palette], Iterable[str]]
    asides: Sequence[str] = ()


async def plan_stacks(arguments: argparse.Namespace, stdin: TextIO, now: datetime) -> Answer:
    """Forecast each AppStack of the files."""
    manifests, others = read_stacks(arguments.filename, stdin)
    how = Applying(arguments.server_side, arguments.field_manager, arguments.force_conflicts)
    api, default = await connect(arguments.kubeconfig, arguments.context)
    try:
        forecasts = []
        for manifest in manifests:
            manifest["metadata"]["namespace"] = namespace_of(manifest, arguments.namespace, default)
            forecasts.append(await forecast_of(api, manifest, how, arguments.operator_namespace, now))
    finally:
        await api.close()

    def lines(palette: Palette) -> Iterable[str]:
        for position, forecast in enumerate(forecasts):
            yield from [""] * bool(position)
            yield from render_forecast(forecast, palette)

    asides = [f"not looked at: {', '.join(others)}"] if others else []
    return Answer(max(code_of(each) for each in forecasts), forecasts_as_json(forecasts), lines, asides)


async def forecast_of(api: Api, manifest: Object, how: Applying, operator_namespace: str, now: datetime) -> Forecast:
    """One stack: what it would be, what is there, and what lies between."""
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    await check_kind(api, namespace)
    live = await find_stack(api, namespace, name)
    stack = validated(await dry_run(api, manifest, live, how))
    seen = await observe_kubernetes(api, stack, now)
    settings, notes = find_settings(await find_operator(api, operator_namespace, namespace, now), seen)
    forecast = build_forecast(stack, live, seen, settings)
    return replace(forecast, notes=[*notes, *forecast.notes])


def validated(live: Object) -> AppStack:
    """What the API server takes, the operator must be able to read."""
    try:
        return AppStack.model_validate(live)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"AppStack {live['metadata']['name']}: {place}: {first['msg']}") from error


def code_of(forecast: Forecast) -> ExitCode:
    """By the worst action; what waits for somebody is as bad."""
    if forecast.is_blocked:
        return ExitCode.DISRUPTIVE
    if forecast.impact is Impact.NO_OP:
        return ExitCode.FINE
    return ExitCode.DISRUPTIVE if forecast.impact >= Impact.FAILOVER else ExitCode.CHANGES


async def show_status(arguments: argparse.Namespace, stdin: TextIO, now: datetime) -> Answer:
    """Report on one stack."""
    api, default = await connect(arguments.kubeconfig, arguments.context)
    try:
        live = await get_stack(api, arguments.namespace or default, arguments.name)
        sign = await look_for_operator(api, arguments.operator_namespace, live["metadata"]["namespace"], now)
        report = build_report(await look(api, live), sign, now)
    finally:
        await api.close()
    return Answer(code_of_report(report), report_as_json(report), lambda palette: render_report(report, palette))


def code_of_report(report: Report) -> ExitCode:
    """Ready, on the way, or in need of somebody."""
    if report.is_stalled or report.operator.is_away:
        return ExitCode.DISRUPTIVE
    if report.is_ready:
        return ExitCode.FINE
    return ExitCode.CHANGES if report.is_moving else ExitCode.DISRUPTIVE

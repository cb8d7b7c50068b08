"""Which of the user's settings PostgreSQL may have: those that nobody refuses. Pure.

A new value is proposed first. The agents of the members ask PostgreSQL's own program about it and answer in an
annotation of their pods (images/postgres/agent/parameters.py); until then, and where it is refused, the value that is
in force stays.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ValidationError

from appstack_operator.api import AppStack, Mode
from appstack_operator.desired.context import Parameters
from appstack_operator.desired.parameter_limits import Room, does_not_fit
from appstack_operator.objects import Object
from appstack_operator.observed import Observed

ANNOTATION = "appstack.dev/parameters"


class Report(BaseModel):
    """What one member says about settings: name -> value, and name -> [value, why it is refused]."""

    checked: dict[str, str] = {}
    refused: dict[str, tuple[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Reports:
    """What all members say."""

    all: Sequence[Report] = ()
    voters: Sequence[Report] = field(default=())  # whose yes is needed

    def refusal(self, name: str, value: str) -> str:
        """Why some member refuses this value; empty if none does."""
        found = (each.refused[name] for each in self.all if name in each.refused)
        return next((why for refused, why in found if refused == value), "")

    def agree(self, name: str, value: str) -> bool:
        """Whether all who have to have looked at this value, and nobody refuses it."""
        return bool(self.voters) and all(each.checked.get(name) == value for each in self.voters)


def settle_parameters(stack: AppStack, seen: Observed, memory_limit: str, volume_bytes: int) -> Parameters:
    """The user's settings, sorted by what is known of them; before there is a database, nobody can be asked."""
    postgres = stack.spec.postgres
    if postgres.mode is not Mode.MANAGED:
        return Parameters()
    live = seen.get("ConfigMap", f"{stack.name}-postgres-config")
    annotations = (live or {}).get("metadata", {}).get("annotations") or {}
    is_new, before = not annotations.get("initialize"), settings_of(annotations.get("config", ""))
    reports, room = reports_of(seen.pods("postgres")), Room(memory_limit, volume_bytes)
    in_force: dict[str, str] = {}
    proposed: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name, value in sorted(postgres.parameters.items()):
        if why := does_not_fit(name, value, room):
            refused[name] = why
        elif why := reports.refusal(name, value):
            refused[name] = why
            proposed[name] = value  # the members go on to say so
        elif is_new or before.get(name) == value or reports.agree(name, value):
            in_force[name] = value
            continue
        else:
            proposed[name] = value
        if name in before and before[name] != value:
            in_force[name] = before[name]
    return Parameters(in_force, proposed, refused)


def settings_of(config: str) -> dict[str, str]:
    """What Patroni was told last; nothing where somebody else wrote there."""
    try:
        found = json.loads(config)["postgresql"]["parameters"]
        return {str(name): str(value) for name, value in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def reports_of(pods: Sequence[Object]) -> Reports:
    """What the members say; every ready one has a vote, and where none is ready, every one that speaks."""
    found = {pod["metadata"]["name"]: report_of(pod) for pod in pods}
    spoken = [report for report in found.values() if report]
    ready = [found[pod["metadata"]["name"]] or Report() for pod in pods if is_up(pod)]
    return Reports(spoken, ready or spoken)


def is_up(pod: Object) -> bool:
    """Whether the pod serves and stays."""
    conditions = pod.get("status", {}).get("conditions") or []
    is_ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return is_ready and "deletionTimestamp" not in pod["metadata"]


def report_of(pod: Object) -> Report | None:
    """What a member says, if it says anything that can be read."""
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION)
    try:
        return Report.model_validate_json(text) if text else None
    except ValidationError:
        return None


def describe_refusals(stack: AppStack, parameters: Parameters) -> str:
    """One sentence for each refused setting: its name, its value, why, and what is in force; empty without one."""
    return "; ".join(
        f'spec.postgres.parameters.{name} = "{stack.spec.postgres.parameters[name]}" is refused: {why} '
        f"({what_stays(parameters.in_force, name)})"
        for name, why in parameters.refused.items()
    )


def what_stays(in_force: Mapping[str, str], name: str) -> str:
    """What a refused setting is instead."""
    return f"{in_force[name]} stays in force" if name in in_force else "it is left at its default"


def describe_proposals(parameters: Parameters) -> str:
    """What the members still have to look at; empty if nothing."""
    waiting = [name for name in parameters.proposed if name not in parameters.refused]
    return f"PostgreSQL is asked whether it takes {', '.join(waiting)}" if waiting else ""

"""The state of a stack as data: conditions, components, and what each consists of, with causes. Pure."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from appstack_operator.api import AppStack
from appstack_operator.assess.conditions import condition_of_component
from appstack_operator.assess.pods import condition, is_ready, trouble
from appstack_operator.assess.verdict import Reason
from appstack_operator.objects import ROLE_LABEL, Object, component_of
from appstack_operator.observed import Observed
from appstack_operator.plugin.forecast import only_nodes_are_shared
from appstack_operator.plugin.look import Look, name_of
from appstack_operator.plugin.operator_sign import OperatorSign
from appstack_operator.plugin.text import age_of
from appstack_operator.spread import describe_move

FINE = {Reason.HEALTHY, Reason.NOT_DECLARED}
OVERALL = ("Ready", "HighlyAvailable", "Reconciling", "Stalled")
TITLES = {
    "PostgresReady": "PostgreSQL",
    "RedisReady": "Redis",
    "RabbitMQReady": "RabbitMQ",
    "MigrationsApplied": "Migrations",
    "APIReady": "API",
    "WorkersReady": "Workers",
    "CronJobsReady": "Scheduled jobs",
}
MEANINGS = {reason.value: reason.meaning for reason in Reason}


@dataclass(frozen=True, slots=True)
class Statement:
    """A condition, with where to read on."""

    type: str
    status: str
    reason: str
    message: str
    since: str
    observed_generation: int = 0

    @property
    def is_good(self) -> bool:
        """Whether nobody has to look at it."""
        return self.status == ("False" if self.type in ("Reconciling", "Stalled") else "True")

    @property
    def is_fine(self) -> bool:
        """Good, and nothing to add."""
        return self.is_good and self.reason in FINE

    @property
    def runbook(self) -> str:
        """The page about its reason."""
        return f"docs/runbooks/{self.reason}.md"

    @property
    def meaning(self) -> str:
        """The reason in a sentence."""
        return MEANINGS.get(self.reason, "")


@dataclass(frozen=True, slots=True)
class Item:
    """An object of the stack: what it is, how it is, and why it is not well."""

    kind: str
    name: str
    state: str
    is_good: bool = True
    cause: str = ""
    items: list["Item"] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Part:
    """A component under its condition."""

    title: str
    statement: Statement | None
    summary: str
    items: list[Item]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole stack."""

    namespace: str
    name: str
    age: str
    generation: int
    observed_generation: int
    is_paused: bool
    is_deleting: bool
    operator: OperatorSign
    overall: list[Statement]
    parts: list[Part]
    notes: list[str]

    @property
    def is_seen(self) -> bool:
        """Whether the operator has looked at this very spec."""
        return self.observed_generation >= self.generation

    @property
    def is_ready(self) -> bool:
        """Whether users are served, by the spec as it is now."""
        ready = next((each for each in self.overall if each.type == "Ready"), None)
        return bool(ready and ready.is_good and self.is_seen and ready.observed_generation >= self.generation)

    @property
    def is_stalled(self) -> bool:
        """Whether somebody has to act."""
        return any(each.type == "Stalled" and each.status == "True" for each in self.overall)

    @property
    def is_moving(self) -> bool:
        """Whether the operator is at work, or is about to be."""
        return not self.is_seen or any(each.type == "Reconciling" and each.status == "True" for each in self.overall)


def build_report(look: Look, sign: OperatorSign, now: datetime) -> Report:
    """Sort what was found under its conditions."""
    meta, status = look.stack["metadata"], look.stack.get("status") or {}
    statements = {each["type"]: statement_of(each, now) for each in status.get("conditions") or []}
    objects = {kind: {name_of(obj): obj for obj in found} for kind, found in look.objects.items()}
    seen = replace(look.nodes, objects=objects, now=now)
    items = {title: list(items_of(title, look, seen, now)) for title in TITLES}
    return Report(
        namespace=meta["namespace"],
        name=meta["name"],
        age=age_of(meta.get("creationTimestamp"), now),
        generation=meta.get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        is_paused=bool(look.stack.get("spec", {}).get("paused")),
        is_deleting="deletionTimestamp" in meta,
        operator=sign,
        overall=[statements[kind] for kind in OVERALL if kind in statements],
        parts=[
            Part(TITLES[kind], statements.get(kind), summary_of(kind, status), items[kind])
            for kind in TITLES
            if kind in statements or items[kind]
        ],
        notes=[
            *look.notes,
            *notes_of(meta, status),
            *move_of(look, seen),
            *([sign.message] if sign.is_away is None else []),
        ],
    )


def notes_of(meta: Object, status: Object) -> Iterator[str]:
    """What the conditions do not say."""
    if status.get("observedGeneration", 0) < meta.get("generation", 0):
        yield (
            f"status is about generation {status.get('observedGeneration', 0)}, the spec is at {meta['generation']}: "
            "the operator has not looked at it yet"
        )


def move_of(look: Look, seen: Observed) -> Iterator[str]:
    """Which pod goes to another node next; a spec that cannot be read is told elsewhere."""
    with suppress(ValidationError):
        if only_nodes_are_shared(look.stack) and (said := describe_move(AppStack.model_validate(look.stack), seen)):
            yield said


def statement_of(live: Object, now: datetime) -> Statement:
    """A condition of the status."""
    return Statement(
        type=live["type"],
        status=live["status"],
        reason=live["reason"],
        message=live.get("message", ""),
        since=age_of(live.get("lastTransitionTime"), now),
        observed_generation=live.get("observedGeneration", 0),
    )


def summary_of(kind: str, status: Object) -> str:
    """What status says of a component, in a few words."""
    match kind:
        case "PostgresReady" if found := status.get("postgres"):
            standbys = ", ".join(found.get("syncStandbys") or []) or "none"
            return (
                f"{found.get('readyInstances', 0)}/{found.get('instances', 0)} ready, "
                f"primary {found.get('primary', 'unknown')}, synchronous standby {standbys}"
            )
        case "RedisReady" if found := status.get("redis"):
            return (
                f"{found.get('readyReplicas', 0)}/{found.get('replicas', 0)} ready, "
                f"master {found.get('master', 'unknown')}, {found.get('sentinels', 0)} Sentinels"
            )
        case "RabbitMQReady" if found := status.get("rabbitmq"):
            ready = f"{found.get('readyReplicas', 0)}/{found.get('replicas', 0)} ready"
            return f"{ready}, {found.get('runningNodes', 0)} running"
        case "MigrationsApplied" if found := status.get("migrations"):
            return f"{found.get('state', '')} for image {found.get('image', '')}"
        case "APIReady" if found := status.get("api"):
            return f"{found.get('readyReplicas', 0)}/{found.get('replicas', 0)} ready, image {found.get('image', '')}"
        case "WorkersReady" if found := status.get("workers"):
            return ", ".join(
                f"{each['name']} {each.get('readyReplicas', 0)}/{each.get('replicas', 0)}"
                + (f" (backlog {each['backlog']})" if each.get("backlog") is not None else "")
                for each in found
            )
    return ""


def items_of(kind: str, look: Look, seen: Observed, now: datetime) -> Iterator[Item]:
    """The objects that a condition is about."""
    for name in ("StatefulSet", "Deployment"):
        for obj in look.objects[name]:
            if belongs(obj, kind):
                yield workload_item(obj, look, seen, now)
    for obj in look.objects["CronJob"]:
        if belongs(obj, kind):
            yield cron_job_item(obj, now)
    for obj in look.objects["Job"]:
        if belongs(obj, kind):
            yield job_item(obj, look, seen, now)
    yield from orphans(kind, look, seen, now)


def belongs(obj: Object, kind: str) -> bool:
    """Whether an object is of the component that a condition is about."""
    component = component_of(obj)
    return bool(component) and condition_of_component(component) == kind


def workload_item(obj: Object, look: Look, seen: Observed, now: datetime) -> Item:
    """A workload with its pods."""
    wanted = obj["spec"].get("replicas", 1)
    ready = obj.get("status", {}).get("readyReplicas", 0)
    pods = [pod_item(pod, look, seen, now) for pod in seen.pods(component_of(obj))]
    is_good = ready >= wanted
    cause = look.warnings.get((obj["kind"], name_of(obj)), "") if not is_good and len(pods) < wanted else ""
    return Item(obj["kind"], name_of(obj), f"{ready}/{wanted} ready", is_good, cause, pods)


def pod_item(pod: Object, look: Look, seen: Observed, now: datetime) -> Item:
    """A pod with its claims."""
    status = pod.get("status", {})
    is_over = status.get("phase") == "Succeeded"
    is_good = is_ready(pod) or is_over
    claims = [
        claim_item(claim, look)
        for volume in pod["spec"].get("volumes") or []
        if (claim := seen.get("PersistentVolumeClaim", volume.get("persistentVolumeClaim", {}).get("claimName", "")))
    ]
    cause = "" if is_good else cause_of(pod, look, seen)
    return Item("Pod", name_of(pod), state_of(pod, now), is_good, cause, claims)


def cause_of(pod: Object, look: Look, seen: Observed) -> str:
    """Why a pod is not ready: as the operator would say it, or by its last warning."""
    verdict = trouble(pod, seen)
    known = verdict.message if verdict else ""
    return known or look.warnings.get(("Pod", name_of(pod)), "") or condition(pod, "Ready").get("message", "")


def state_of(pod: Object, now: datetime) -> str:
    """Role, phase, node, restarts and age of a pod."""
    meta, status = pod["metadata"], pod.get("status", {})
    restarts = sum(each.get("restartCount", 0) for each in status.get("containerStatuses") or [])
    phase = (
        "ready" if is_ready(pod) else "terminating" if "deletionTimestamp" in meta else status.get("phase", "Pending")
    )
    words = [
        meta["labels"].get(ROLE_LABEL, ""),
        phase,
        f"on {pod['spec']['nodeName']}" if pod["spec"].get("nodeName") else "on no node",
        f"{restarts} restarts" if restarts else "",
        age_of(meta.get("creationTimestamp"), now),
    ]
    return ", ".join(filter(None, words))


def claim_item(claim: Object, look: Look) -> Item:
    """A volume claim, and why it has no volume."""
    phase = claim.get("status", {}).get("phase", "Pending")
    size = (claim.get("status", {}).get("capacity") or claim["spec"]["resources"]["requests"]).get("storage", "")
    of_class = claim["spec"].get("storageClassName")
    state = f"{phase}, {size}" + (f", class {of_class}" if of_class else "")
    is_good = phase == "Bound"
    cause = "" if is_good else look.warnings.get(("PersistentVolumeClaim", name_of(claim)), "")
    return Item("PersistentVolumeClaim", name_of(claim), state, is_good, cause)


def cron_job_item(obj: Object, now: datetime) -> Item:
    """A schedule, and how it went last."""
    spec, status = obj["spec"], obj.get("status", {})
    last, success = (status.get(f"last{what}Time") for what in ("Schedule", "Successful"))
    words = [
        f"{spec['schedule']} {spec.get('timeZone', '')}".strip(),
        "suspended" if spec.get("suspend") else "",
        f"started {age_of(last, now)} ago" if last else "never started",
        f"succeeded {age_of(success, now)} ago" if success else "never succeeded",
    ]
    return Item("CronJob", name_of(obj), ", ".join(filter(None, words)))


def job_item(obj: Object, look: Look, seen: Observed, now: datetime) -> Item:
    """A run; its pods are shown while it has not succeeded."""
    if condition(obj, "Complete").get("status") == "True":
        return Item("Job", name_of(obj), "succeeded")
    failed = condition(obj, "Failed")
    has_failed = failed.get("status") == "True"
    pods = [
        pod_item(pod, look, seen, now)
        for pod in seen.pods(component_of(obj))
        if any(owner["uid"] == obj["metadata"]["uid"] for owner in pod["metadata"].get("ownerReferences") or [])
    ]
    cause = failed.get("message", "") or look.warnings.get(("Job", name_of(obj)), "")
    return Item("Job", name_of(obj), "failed" if has_failed else "running", not has_failed, cause, pods)


def orphans(kind: str, look: Look, seen: Observed, now: datetime) -> Iterator[Item]:
    """Claims that no pod uses: kept from a larger or an earlier stack."""
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in look.objects["Pod"]
        for volume in pod["spec"].get("volumes") or []
        if "persistentVolumeClaim" in volume
    }
    for claim in look.objects["PersistentVolumeClaim"]:
        if belongs(claim, kind) and name_of(claim) not in used:
            item = claim_item(claim, look)
            yield Item(item.kind, item.name, f"{item.state}, used by no pod", item.is_good, item.cause)


def report_as_json(report: Report) -> dict[str, Any]:
    """For programs: the same, in camelCase like the API."""
    content = camel(asdict(report))
    content |= {"isReady": report.is_ready, "isStalled": report.is_stalled}
    for statement, shown in zip(report.overall, content["overall"], strict=True):
        shown |= {"meaning": statement.meaning, "runbook": statement.runbook}
    for part, shown in zip(report.parts, content["parts"], strict=True):
        if part.statement and shown["statement"]:
            shown["statement"] |= {"meaning": part.statement.meaning, "runbook": part.statement.runbook}
    return dict(content)


def camel(value: Any) -> Any:
    """Keys as the API writes them."""
    if isinstance(value, dict):
        return {to_camel(key): camel(item) for key, item in value.items()}
    return [camel(item) for item in value] if isinstance(value, list) else value


def to_camel(key: str) -> str:
    """observed_generation -> observedGeneration."""
    first, *others = key.split("_")
    return first + "".join(part.title() for part in others)

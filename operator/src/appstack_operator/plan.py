"""What to write, in which order, and why: desired x observed x gates -> actions. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from itertools import chain

from appstack_operator.api import AppStack
from appstack_operator.assess.backend import is_complete, is_failed, migration_at_work
from appstack_operator.assess.deployments import is_rolled_out
from appstack_operator.desired.credentials import PLACES, lost_credentials
from appstack_operator.desired.migrations import COMPONENT as MIGRATE
from appstack_operator.desired.quantities import bytes_of
from appstack_operator.desired.stack import Stage, Wanted
from appstack_operator.gates import Gates
from appstack_operator.kinds import CHILDREN, Ref
from appstack_operator.objects import COMPONENT_LABEL, ROLE_LABEL, Object, component_of
from appstack_operator.observed import Observed
from appstack_operator.ownership import HASH, TEMPLATE_HASH, annotation, lost_fields, stamped
from appstack_operator.restarts import is_leading, is_old, next_restarts, ordinal_of, sets_of
from appstack_operator.spread import MOVED, next_move
from appstack_operator.volumes import growths, size_of_template, template_is_old, with_claims_of

# Taking one of these away ends something that ran.
WORKLOADS = {"Deployment", "CronJob", "Service"}
# What users, or their work, reach: it goes once what takes its place has come.
SERVING = {"Deployment", "Service", "PodDisruptionBudget"}


class Verb(Enum):
    """What a write does to an object."""

    CREATE = "create"
    APPLY = "apply"
    DELETE = "delete"
    RESTART = "restart"
    EVICT = "evict"  # its controller makes it anew, and the scheduler finds it a better node
    SCALE = "scale"
    SUSPEND = "suspend"  # a scheduled job starts no more runs
    GROW = "grow"  # a claim asks for more
    LABEL = "label"  # nothing but the labels of what is never written over
    REPLACE = "replace"  # deleted without its pods, to be made again
    MARK = "mark"  # a pod as not ready: its Services leave it out


class Impact(IntEnum):
    """What a user of the stack may notice, the worst last."""

    NO_OP = 0
    IN_PLACE = 1
    ROLLING = 2
    FAILOVER = 3
    DESTRUCTIVE = 4


@dataclass(frozen=True, slots=True)
class Action:
    """One write: the dry run prints it, apply performs it."""

    verb: Verb
    target: Ref
    impact: Impact
    why: str
    stage: Stage
    manifest: Object | None = None  # None: nothing is sent (delete, restart)
    uid: str = ""  # of the object that was seen; a new one of that name is not meant
    is_created_only: bool = False  # never written over what exists: a password, a Job
    grace_seconds: int | None = None  # of a pod that is restarted; None: its own

    def __str__(self) -> str:
        """One line of a plan."""
        return f"{self.verb.value} {self.target} [{self.impact.name.lower().replace('_', '-')}]: {self.why}"


def plan(stack: AppStack, wanted: Sequence[Wanted], seen: Observed, gates: Gates) -> list[Action]:
    """All writes that bring what was seen closer to what is wanted; empty when nothing is to be done."""
    planned = (action for item in wanted for action in plan_with_volumes(stack, item, seen, gates))
    writes = [action for action in until_the_rollout(planned) if not is_second_migration(action, seen)]
    prunes = plan_prunes(stack, wanted, seen)
    if not has_taken_over(wanted, writes, seen, gates):
        prunes = (action for action in prunes if not is_still_needed(action, seen))
    # Who leads may be the one that goes: then nobody else may be away. Whose password was lost would not come back.
    is_no_time = any(takes_members_away(action, seen) for action in writes) or lost_credentials(stack, seen)
    restarts = () if is_no_time else plan_restarts(stack, seen)
    return [*writes, *prunes, *restarts]


def forecast(stack: AppStack, wanted: Sequence[Wanted], seen: Observed, gates: Gates) -> list[Action]:
    """All that a spec leads to, stage by stage: the passes to come will do it. Closed gates are those that stay so."""
    planned = (plan_with_volumes(stack, item, seen, gates, is_forecast=True) for item in wanted)
    writes = list(chain.from_iterable(planned))
    restarts = list(plan_restarts_to_come(stack, writes, seen))
    return sorted(chain(writes, restarts, plan_prunes(stack, wanted, seen)), key=lambda action: action.stage)


def until_the_rollout(actions: Iterable[Action]) -> Iterator[Action]:
    """Hold scheduled jobs back behind a rollout that this very plan begins."""
    begins_rollout = False
    for action in actions:
        begins_rollout |= action.stage is Stage.BACKEND and action.impact >= Impact.ROLLING
        if action.stage is not Stage.CRON_JOBS or not begins_rollout:
            yield action


def is_second_migration(action: Action, seen: Observed) -> bool:
    """Whether it would start a migration beside one that is at work, or being ended: they could spoil the database."""
    return action.verb is Verb.CREATE and action.target.kind == "Job" and bool(migration_at_work(seen))


def takes_members_away(action: Action, seen: Observed) -> bool:
    """Whether a data service is to have fewer members."""
    live = seen.get("StatefulSet", action.target.name) if action.target.kind == "StatefulSet" else None
    if live is None or action.manifest is None:
        return False
    return bool(action.manifest["spec"]["replicas"] < live["spec"]["replicas"])


def phases_of_migration(seen: Observed) -> set[str]:
    """The phases of all pods that migrate, of whichever Job."""
    return {str(pod.get("status", {}).get("phase", "Pending")) for pod in seen.pods(MIGRATE)}


def has_taken_over(wanted: Sequence[Wanted], writes: Sequence[Action], seen: Observed, gates: Gates) -> bool:
    """Whether the API and the workers that the spec asks for run, all of them, and nothing else of theirs."""
    begins = any(action.stage is Stage.BACKEND and action.target.kind == "Deployment" for action in writes)
    if begins or not gates.is_open(Stage.BACKEND):
        return False
    names = [item.manifest["metadata"]["name"] for item in wanted if is_of_backend(item)]
    return all((live := seen.get("Deployment", name)) is not None and is_rolled_out(live) for name in names)


def is_of_backend(item: Wanted) -> bool:
    """Whether it runs the user's image for good."""
    return item.stage is Stage.BACKEND and item.manifest["kind"] == "Deployment"


def is_still_needed(prune: Action, seen: Observed) -> bool:
    """Whether the version that serves until the new one does needs it, or would to come back: its migration's Job."""
    if prune.target.kind == "Job":
        job = seen.get("Job", prune.target.name)
        return job is not None and is_complete(job)
    return prune.target.kind in SERVING


def worst(actions: Sequence[Action]) -> Impact:
    """The worst impact of a plan."""
    return max((action.impact for action in actions), default=Impact.NO_OP)


def plan_with_volumes(
    stack: AppStack, item: Wanted, seen: Observed, gates: Gates, *, is_forecast: bool = False
) -> Iterator[Action]:
    """A StatefulSet's claims grow before it; its claim template follows by making it again around its pods.

    Pass by pass; a forecast tells all of it at once.
    """
    target = Ref.of(item.manifest)
    live = seen.get(target.kind, target.name)
    is_old = target.kind == "StatefulSet" and live is not None and template_is_old(item.manifest, live)
    if live is None or not is_old or not belongs_to(stack, live):
        action = plan_item(stack, item, seen, gates)
        yield from [action] if action else []
        return
    before, after = size_of_template(live), size_of_template(item.manifest)
    too_small = list(growths(item.manifest, seen))
    for each in too_small:
        meta = each.claim["metadata"]
        claim = Ref("PersistentVolumeClaim", stack.namespace, meta["name"])
        labels = {COMPONENT_LABEL: component_of(live)}  # tells whose condition reports a refusal
        size: Object = {
            "metadata": {"labels": labels},
            "spec": {"resources": {"requests": {"storage": each.after}}},
        }
        why = f"size {each.before} -> {each.after}"
        yield Action(Verb.GROW, claim, Impact.IN_PLACE, why, item.stage, size, meta["uid"])
    is_growth = bool(after) and bytes_of(after) > bytes_of(before) and "deletionTimestamp" not in live["metadata"]
    is_turn = is_growth and not too_small and item.is_known
    if is_forecast or not is_turn:
        action = plan_item(stack, replace(item, manifest=with_claims_of(item.manifest, live)), seen, gates)
        yield from [action] if action else []
    if is_turn or (is_growth and is_forecast):
        why = f"new pods get {after} instead of {before}; the pods go on meanwhile"
        yield Action(Verb.REPLACE, target, Impact.IN_PLACE, why, item.stage, None, live["metadata"]["uid"])


def plan_item(stack: AppStack, item: Wanted, seen: Observed, gates: Gates) -> Action | None:
    """The write for one object; before its turn only what is no news: a repair, a number, an end of runs."""
    if item.manifest["kind"] in seen.unknown_kinds:
        return None
    if gates.lets_through(item.stage, item.manifest["kind"]) and item.is_known:
        return plan_write(stack, item, seen)
    target = Ref.of(item.manifest)
    live = seen.get(target.kind, target.name)
    if live is None or item.is_created_only or not belongs_to(stack, live):
        return None
    if annotation(live, HASH) == annotation(stamped(item.manifest), HASH):
        return plan_write(stack, item, seen)  # the gate was open for exactly this before
    return plan_suspension(target, item, live) if target.kind == "CronJob" else plan_scale(target, item, live)


def plan_scale(target: Ref, item: Wanted, live: Object) -> Action | None:
    """The number of pods alone: what serves keeps its template."""
    replicas = item.manifest.get("spec", {}).get("replicas")
    if replicas is None or live["spec"].get("replicas") == replicas:
        return None
    why = f"replicas {live['spec'].get('replicas')} -> {replicas}"
    scaled: Object = {"spec": {"replicas": replicas}}
    return Action(Verb.SCALE, target, Impact.IN_PLACE, why, item.stage, scaled, live["metadata"]["uid"])


def plan_suspension(target: Ref, item: Wanted, live: Object) -> Action | None:
    """An end of runs, which somebody may want just because all else is stuck; a new begin waits for the gate."""
    if not item.manifest["spec"]["suspend"] or live["spec"].get("suspend"):
        return None
    suspended: Object = {"spec": {"suspend": True}}
    why = "suspend False -> True"
    return Action(Verb.SUSPEND, target, Impact.IN_PLACE, why, item.stage, suspended, live["metadata"]["uid"])


def plan_write(stack: AppStack, item: Wanted, seen: Observed) -> Action | None:
    """Create what is missing, apply what has changed or drifted, leave the rest alone."""
    target = Ref.of(item.manifest)
    live = seen.get(target.kind, target.name)
    manifest = stamped(item.manifest)
    if live is None:
        why = "does not exist yet"
        return Action(
            Verb.CREATE, target, Impact.IN_PLACE, why, item.stage, manifest, is_created_only=item.is_created_only
        )
    if "deletionTimestamp" in live["metadata"]:
        return None
    uid = live["metadata"]["uid"]
    if item.is_created_only:
        if target.kind == "Job":
            return plan_fresh_try(target, item, manifest, live, seen) or plan_labels(target, item, live)
        completion = plan_completion(target, item, manifest, live) if target.kind == "Secret" else None
        return completion or plan_labels(target, item, live)
    if not belongs_to(stack, live):
        return Action(Verb.CREATE, target, Impact.IN_PLACE, "belongs to somebody else", item.stage, manifest)
    if annotation(live, HASH) != annotation(manifest, HASH):
        impact, why = describe_change(manifest, live)
        impact = max(impact, impact_on_leader(manifest, seen))
        return Action(Verb.APPLY, target, impact, why, item.stage, manifest, uid)
    if lost := lost_fields(manifest, live):
        why = f"somebody else changed {', '.join(lost[:3])}{' and more' if len(lost) > 3 else ''}"
        return Action(Verb.APPLY, target, impact_of_drift(lost), why, item.stage, manifest, uid)
    return None


def plan_completion(target: Ref, item: Wanted, manifest: Object, live: Object) -> Action | None:
    """Put right what stands beside a password in its Secret, or where the password is gone; never write over one."""
    held, wanted = live.get("data") or {}, manifest["data"]
    passwords = {key for _, key in PLACES.values()} & wanted.keys()
    is_edited = any(held.get(key) and held[key] != wanted[key] for key in passwords)
    if is_edited or all(held.get(key) == value for key, value in wanted.items()):
        return None
    wrong = ", ".join(sorted(key for key, value in wanted.items() if held.get(key) != value))
    why = f"{wrong}: not what is in force"
    return Action(Verb.APPLY, target, Impact.IN_PLACE, why, item.stage, manifest, live["metadata"]["uid"])


def plan_fresh_try(target: Ref, item: Wanted, manifest: Object, live: Object, seen: Observed) -> Action | None:
    """Make a migration's Job anew where it failed, or never began, and its pods would be others now.

    A pull secret that was forgotten, a time limit that was too short. One that is at work is left to its end.
    """
    if is_complete(live) or annotation(live, HASH) in ("", annotation(manifest, HASH)):
        return None
    if not is_failed(live) and "Running" in phases_of_migration(seen):
        return None
    why = "its template changed, and it has migrated nothing: a fresh try"
    return Action(Verb.DELETE, target, Impact.IN_PLACE, why, item.stage, None, live["metadata"]["uid"])


def plan_labels(target: Ref, item: Wanted, live: Object) -> Action | None:
    """The labels of a password or a Job, of which nothing else is ever written."""
    held = live["metadata"].get("labels") or {}
    lost = {key: value for key, value in item.manifest["metadata"]["labels"].items() if held.get(key) != value}
    if not lost:
        return None
    why = f"somebody else changed {', '.join(f'metadata.labels.{key}' for key in sorted(lost))}"
    change: Object = {"metadata": {"labels": lost}}
    return Action(Verb.LABEL, target, Impact.IN_PLACE, why, item.stage, change, live["metadata"]["uid"])


def belongs_to(stack: AppStack, live: Object) -> bool:
    """Whether an object with the stack's label is this stack's: owned by it, or ours and left without an owner."""
    controllers = [owner for owner in live["metadata"].get("ownerReferences") or [] if owner.get("controller")]
    if not controllers:
        return bool(annotation(live, HASH))
    return str(controllers[0].get("uid")) == stack.metadata.uid


def describe_change(manifest: Object, live: Object) -> tuple[Impact, str]:
    """How far a change of the wanted content reaches, and what it is."""
    is_rolling = annotation(live, TEMPLATE_HASH) != annotation(manifest, TEMPLATE_HASH)
    impact = Impact.ROLLING if is_rolling else Impact.IN_PLACE
    before, after = images_of(live), images_of(manifest)
    for name in sorted(after):
        if name in before and before[name] != after[name]:
            return impact, f"image {before[name]} -> {after[name]}"
    if is_rolling:
        return impact, "the pods' template changed"
    replicas = [obj.get("spec", {}).get("replicas") for obj in (live, manifest)]
    if None not in replicas and replicas[0] != replicas[1]:
        return impact, f"replicas {replicas[0]} -> {replicas[1]}"
    return impact, "the wanted content changed"


def impact_on_leader(manifest: Object, seen: Observed) -> Impact:
    """Fewer instances may mean that the one who leads goes."""
    if manifest["kind"] != "StatefulSet":
        return Impact.NO_OP
    replicas = manifest["spec"]["replicas"]
    goes = any(is_leading(pod) and ordinal_of(pod) >= replicas for pod in seen.pods(component_of(manifest)))
    return Impact.FAILOVER if goes else Impact.NO_OP


def impact_of_drift(lost: Sequence[str]) -> Impact:
    """Drift in a pod template restarts pods when it is repaired."""
    return Impact.ROLLING if any(path.startswith("spec.template.spec") for path in lost) else Impact.IN_PLACE


def images_of(obj: Object) -> dict[str, str]:
    """Container -> image of a workload's pod template."""
    spec = obj.get("spec", {})
    template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template") or {}
    pod = template.get("spec", {})
    return {each["name"]: each["image"] for each in (*pod.get("initContainers", ()), *pod.get("containers", ()))}


def plan_prunes(stack: AppStack, wanted: Sequence[Wanted], seen: Observed) -> Iterator[Action]:
    """Take away what this stack made and no longer asks for."""
    names = {Ref.of(item.manifest) for item in wanted}
    for kind in reversed(CHILDREN):
        if not kind.is_pruned:
            continue
        for live in seen.of_kind(kind.name):
            target = Ref(kind.name, stack.namespace, live["metadata"]["name"])
            if target in names or "deletionTimestamp" in live["metadata"] or not is_made_by(stack, live):
                continue
            uid = live["metadata"]["uid"]
            impact = Impact.DESTRUCTIVE if kind.name in WORKLOADS else Impact.IN_PLACE
            why = "the spec no longer asks for it"
            yield Action(Verb.DELETE, target, impact, why, Stage.CRON_JOBS, None, uid)


def is_made_by(stack: AppStack, live: Object) -> bool:
    """Whether this stack owns the object and a pass made it (a CronJob's Job or a ReplicaSet is not ours)."""
    owners = live["metadata"].get("ownerReferences") or []
    return bool(annotation(live, HASH)) and any(owner.get("uid") == stack.metadata.uid for owner in owners)


def plan_restarts(stack: AppStack, seen: Observed) -> Iterator[Action]:
    """Replace pods of data services whose template is old: one at a time, the primary last."""
    for restart in next_restarts(stack, seen):
        impact = Impact.FAILOVER if restart.is_primary else Impact.ROLLING
        target = Ref("Pod", restart.namespace, restart.pod)
        action = Action(Verb.RESTART, target, impact, restart.why, Stage.DATA_SERVICES, None, restart.uid)
        yield replace(action, grace_seconds=restart.grace_seconds)


def plan_move(stack: AppStack, seen: Observed) -> list[Action]:
    """Evict one pod that shares a node with others of its kind. Only for a stack with which all else is well."""
    move = next_move(stack, seen)
    if move is None:
        return []
    owner = move.owner["metadata"]
    meta = {key: owner[key] for key in ("name", "namespace", "uid")} | {"annotations": {MOVED: move.note}}
    note = {"apiVersion": move.owner["apiVersion"], "kind": move.owner["kind"], "metadata": meta}
    uid = move.pod["metadata"]["uid"]
    return [Action(Verb.EVICT, Ref.of(move.pod), Impact.ROLLING, move.why, Stage.DATA_SERVICES, note, uid)]


def plan_restarts_to_come(stack: AppStack, writes: Sequence[Action], seen: Observed) -> Iterator[Action]:
    """Pods of data services that an older template still runs once these writes are done: who leads comes last."""
    for component, stateful_set in sets_of(stack, seen).items():
        write = next((each for each in writes if each.target == Ref.of(stateful_set)), None)
        is_new = write is not None and write.impact >= Impact.ROLLING
        old = [pod for pod in seen.pods(component) if is_new or is_old(pod, stateful_set)]
        replicas = (write.manifest if write and write.manifest else stateful_set)["spec"]["replicas"]
        for pod in sorted(old, key=lambda pod: (is_leading(pod), -ordinal_of(pod))):
            if ordinal_of(pod) >= replicas:
                continue
            impact = Impact.FAILOVER if is_leading(pod) else Impact.ROLLING
            role = pod["metadata"]["labels"].get(ROLE_LABEL)
            why = f"a new template; it is {role}, and comes last" if is_leading(pod) else "a new template"
            yield Action(Verb.RESTART, Ref.of(pod), impact, why, Stage.DATA_SERVICES, None, pod["metadata"]["uid"])

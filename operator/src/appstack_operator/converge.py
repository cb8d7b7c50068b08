"""One full pass over one stack: validate, observe, desired, assess, plan, apply, status, events."""

import logging
import secrets
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain, count

from pydantic import ValidationError

from appstack_operator import metrics
from appstack_operator.api import AppStack, AppStackStatus
from appstack_operator.api.status import Condition, SummaryStatus
from appstack_operator.apply import apply
from appstack_operator.assess.conditions import Work
from appstack_operator.assess.pooler import pooler_is_the_door
from appstack_operator.assess.stack import (
    Assessment,
    assess_highly_available,
    assess_ready,
    assess_stack,
    contradiction,
)
from appstack_operator.assess.status import build_status
from appstack_operator.assess.verdict import Reason, Status, Verdict
from appstack_operator.bridging import AnswerMemory
from appstack_operator.client import Api, ApiError
from appstack_operator.desired.context import Context, Credentials
from appstack_operator.desired.credentials import known_credentials, lost_credentials
from appstack_operator.desired.parameters import settle_parameters
from appstack_operator.desired.postgres import memory_limit
from appstack_operator.desired.stack import build_stack
from appstack_operator.events import build_events, build_ignored, build_moves
from appstack_operator.gates import set_gates
from appstack_operator.held_back import claims_are_free, edits_that_wait, may_begin, verdicts_of_waiting
from appstack_operator.kinds import STACK, Ref
from appstack_operator.leaving import stack_for_now
from appstack_operator.left_to_do import (
    BUSY_SECONDS,
    as_it_lasts,
    has_lasted,
    next_look,
    pending_work,
    phase_of,
    tried_since,
    unsettled_parameters,
    verdicts_of,
)
from appstack_operator.lifecycle import end, hold, tell
from appstack_operator.logs import PASS
from appstack_operator.logs import STACK as STACK_OF_LOG
from appstack_operator.neighbours import Neighbours, places_of
from appstack_operator.objects import API_VERSION, Object
from appstack_operator.observe import observe_answers, observe_kubernetes
from appstack_operator.observed import Observed
from appstack_operator.plan import Verb, plan, plan_move
from appstack_operator.probe import Look
from appstack_operator.scaling import ScalingMemory, scale_workers
from appstack_operator.services.passwords import rotate_passwords
from appstack_operator.settings import Settings
from appstack_operator.spread import look_seconds
from appstack_operator.turns import PASSES_AT_ONCE, Turns
from appstack_operator.volumes import volumes_as_they_are
from appstack_operator.wakeups import Key

logger = logging.getLogger(__name__)

ALPHABET = string.ascii_letters + string.digits
# How soon to look again whether PostgreSQL has ended, in a stack that is being deleted.
ENDING_SECONDS = 2.0
CRASHED_SECONDS = 15.0
TRUE: Status = "True"
UNKNOWN: Status = "Unknown"
numbers = count(1)


@dataclass(frozen=True, slots=True)
class Known:
    """A stack as the latest pass reads it. Its look comes as that pass ends: seconds later, where nobody answers."""

    stack: AppStack
    is_left_alone: bool  # paused or refused: nothing is written


@dataclass(frozen=True, slots=True)
class Operator:
    """What every pass needs."""

    api: Api
    settings: Settings
    scaling: ScalingMemory = field(default_factory=ScalingMemory)
    known: dict[Key, Known] = field(default_factory=dict)
    looks: dict[Key, Look] = field(default_factory=dict)  # of the last pass over each stack
    heard_late: set[Key] = field(default_factory=set)  # stacks whose first pass ended without an answer
    # What could not be written in a way that may pass (the stack itself: passes over it ended early) -> since when.
    failing: dict[Key, dict[Ref, datetime]] = field(default_factory=dict)
    turns: Turns = field(default_factory=lambda: Turns(PASSES_AT_ONCE))
    neighbours: Neighbours = field(default_factory=Neighbours)  # the pods of all stacks, by their nodes

    def forget(self, namespace: str, name: str) -> None:
        """The stack is gone."""
        self.known.pop((namespace, name), None)
        self.looks.pop((namespace, name), None)
        self.heard_late.discard((namespace, name))
        self.neighbours.forget((namespace, name))
        self.scaling.forget(namespace, name)
        metrics.show_conditions(namespace, name, {})

    def has_failed_for_long(self, live: Object, now: datetime) -> bool:
        """Whether every pass over this stack has ended early for so long that somebody has to know."""
        ref = Ref.of(live)
        return has_lasted(self.failing.setdefault((ref.namespace, ref.name), {}).setdefault(ref, now), now)


async def run_pass(operator: Operator, namespace: str, name: str) -> float | None:
    """Bring one stack closer to its spec; the seconds until it wants to be looked at again, None if it is gone."""
    STACK_OF_LOG.set(f"{namespace}/{name}")
    PASS.set(next(numbers))
    started = time.monotonic()
    try:
        delay_seconds = await converge(operator, namespace, name)
    except ApiError as error:
        metrics.PASSES.labels("failed").inc()
        logger.warning("the pass ended early: %s", error.message)
        return BUSY_SECONDS
    except Exception:
        # A defect must not end the daemon: the next pass may see another world.
        metrics.PASSES.labels("crashed").inc()
        logger.exception("the pass crashed")
        return CRASHED_SECONDS
    metrics.PASSES.labels("done").inc()
    metrics.PASS_SECONDS.observe(time.monotonic() - started)
    return delay_seconds


async def converge(operator: Operator, namespace: str, name: str) -> float | None:
    """A pass over what is there, and may be on its way out. One that ends early again and again says why."""
    live = await operator.api.get(Ref(STACK.name, namespace, name))
    now = datetime.now(UTC)
    if live is None:
        operator.forget(namespace, name)
        operator.failing.pop((namespace, name), None)
        return None
    is_going = "deletionTimestamp" in live["metadata"]
    try:
        return await (let_go(operator, live, now) if is_going else keep(operator, live, now))
    except Exception as error:
        if operator.has_failed_for_long(live, now):
            await tell_of_failure(operator.api, live, error, now)
        raise


async def tell_of_failure(api: Api, live: Object, error: Exception, now: datetime) -> None:
    """Say with what every pass has ended for a while. Of a defect only its kind: its words may hold a password."""
    defect = f"the operator fails at it ({type(error).__name__}); its log says more"
    why = error.message if isinstance(error, ApiError) else defect
    if "deletionTimestamp" in live["metadata"]:
        await tell(api, live, f"what goes with the stack cannot be taken away: {why}", now)
        return
    reason = Reason.APPLY_REFUSED if isinstance(error, ApiError) else Reason.STATE_UNKNOWN
    try:
        await report_stalled(api, live, Verdict.true(reason, f"nothing is done for the stack: {why}"), now)
    except ApiError as unheard:  # what is to be told of is worse
        logger.warning("the status could not be written: %s", unheard.message)


async def let_go(operator: Operator, live: Object, now: datetime) -> float:
    """One step towards the end of a stack: nothing of it is assessed any more, nor asked between passes."""
    namespace, name = live["metadata"]["namespace"], live["metadata"]["name"]
    operator.forget(namespace, name)
    is_over = await end(operator.api, live, now)
    operator.failing.pop((namespace, name), None)
    return operator.settings.resync_seconds if is_over else ENDING_SECONDS


async def keep(operator: Operator, live: Object, now: datetime) -> float:
    """The rooms of a pass, one after the other."""
    api, settings = operator.api, operator.settings
    namespace, name = live["metadata"]["namespace"], live["metadata"]["name"]
    live = await hold(api, live)
    before = operator.looks.get((namespace, name))
    refusal = None
    try:
        stack = AppStack.model_validate(live)
    except ValidationError as error:
        refusal = refusal_of(error)
        if before is None:
            operator.known.pop((namespace, name), None)  # read by its former spec, perhaps: it is left alone now
            await report_stalled(api, live, refusal, now)
            return settings.resync_seconds
        stack = by_former_spec(live, before.stack)
    is_left_alone = stack.spec.paused or refusal is not None

    fresh = generate_credentials()
    answers = before.answers if before else AnswerMemory()
    seen = await observe_kubernetes(api, stack, now)
    # At once: where services are silent, their answers take seconds, and a successor has not even a look of before.
    operator.known[namespace, name] = Known(stack, is_left_alone)
    operator.neighbours.note((namespace, name), places_of(seen.of_kind("Pod")))
    seen = await observe_answers(stack, seen, fresh, answers)
    if before is None and seen.is_heard_late and (namespace, name) not in operator.heard_late:
        # One late answer is not silence yet, and a process that has just begun has no former one to stand in for it.
        operator.heard_late.add((namespace, name))
        return BUSY_SECONDS
    context = build_context(stack, seen, fresh, settings)
    if not is_left_alone:
        context = replace(context, waiting_edits=edits_that_wait(stack, seen, context))
        waiting_edits, may_write = context.waiting_edits, operator.api.may_write
        in_force = await rotate_passwords(stack, seen, context.credentials, waiting_edits, may_write)
        context = replace(context, credentials=in_force)
    context = replace(context, worker_replicas=scale_workers(stack, seen, operator.scaling))
    assessment = assess_stack(stack, seen, context)
    operator.looks[namespace, name] = Look.of(stack, seen, context, assessment, answers, is_left_alone=is_left_alone)
    if said := contradiction(seen, assessment):
        logger.warning("%s", said)
    gates = set_gates(assessment)
    for_now, taken = stack_for_now(stack, seen), claims_are_free(stack, seen)
    held = verdicts_of_waiting(stack, seen, context, assessment)
    wanted = build_stack(for_now, context)
    actions = [action for action in plan(stack, wanted, seen, gates) if may_begin(action, stack, seen)]
    told = [verdict.message for verdict in (held | taken).values()]
    waiting = [*gates.closed.values(), *unsettled_parameters(stack, seen, context), *told]
    if not pending_work(stack, seen, actions, waiting) and only_nodes_are_shared(stack, seen, assessment):
        actions = plan_move(stack, seen)
    failures = [] if is_left_alone else await apply(stack, actions, api)
    since = tried_since(failures, operator.failing.get((namespace, name), {}), now)
    # The stack's own entry stays until the pass has ended well: what is still to come may crash.
    operator.failing.setdefault((namespace, name), {}).update(since)
    failures = [as_it_lasts(failure, since, now) for failure in failures]

    refused = {failure.target for failure in failures}
    # A move that was refused is nothing that the stack is busy with.
    tried = [each for each in actions if each.verb is not Verb.EVICT or each.target not in refused]
    # What is refused comes before what merely waits: nobody would go one by one.
    verdicts = {} if is_left_alone else held | verdicts_of(failures, seen) | taken
    work = Work(pending_work(stack, seen, tried, waiting), verdicts, refusal)
    moved = [] if is_left_alone else [str(each) for each in tried if each.verb is Verb.EVICT]
    status = build_status(stack, seen, context, assessment, work)
    news = [*build_ignored(stack, before.stack if before else None, now), *build_moves(stack, moved, now)]
    # A spec that somebody has just changed is begun before it is told what was done for others.
    await operator.turns.step_aside((namespace, name))
    await report(api, stack, live, status, now, news)
    operator.failing[namespace, name] = since
    delay_seconds = next_look(settings, status, failures, now, phase_of(stack.metadata.uid))
    return min(delay_seconds, look_seconds(stack, seen) or delay_seconds)


def only_nodes_are_shared(stack: AppStack, seen: Observed, assessment: Assessment) -> bool:
    """Whether nothing is wrong with a stack but where its pods run."""
    available = assess_highly_available(stack, seen, assessment, assess_ready(assessment))
    return available.reason is Reason.SHARED_NODE


def generate_credentials() -> Credentials:
    """Passwords for Secrets that are still to be made: letters and digits, safe in URLs and files."""
    names = Credentials.__dataclass_fields__
    return Credentials(**{name: "".join(secrets.choice(ALPHABET) for _ in range(32)) for name in names})


def build_context(stack: AppStack, seen: Observed, fresh: Credentials, settings: Settings) -> Context:
    """What the builders need beside the stack."""
    services = seen.of_kind("Service")
    addresses = {each["metadata"]["name"]: str(each["spec"].get("clusterIP", "")) for each in services}
    volumes = volumes_as_they_are(stack, seen)
    return Context(
        images=settings.images,
        credentials=known_credentials(stack, seen, fresh),
        addresses={name: address for name, address in addresses.items() if address not in ("", "None")},
        external={component: data for component, data in seen.external.items() if data is not None},
        references=seen.references,
        api_is_at_zero=(seen.get("Deployment", f"{stack.name}-api") or {}).get("spec", {}).get("replicas") == 0,
        parameters=settle_parameters(stack, seen, memory_limit(stack), volumes["postgres"]),
        volume_bytes=volumes,
        pooler_is_door=pooler_is_the_door(stack, seen),
        lost=lost_credentials(stack, seen),
        operator_namespace=settings.lease_namespace,
        cluster_domain=settings.cluster_domain,
    )


async def report(
    api: Api, stack: AppStack, live: Object, status: AppStackStatus, now: datetime, news: Sequence[Object] = ()
) -> None:
    """Write status if it has changed, and events about what changed in it and about what else is new."""
    wanted = status.model_dump(by_alias=True, mode="json", exclude_none=True)
    metrics.show_conditions(stack.namespace, stack.name, {each.type: each.status for each in status.conditions})
    if wanted != live.get("status"):
        await api.apply(
            {
                "apiVersion": API_VERSION,
                "kind": STACK.name,
                "metadata": {"name": stack.name, "namespace": stack.namespace, "uid": stack.metadata.uid},
                "status": wanted,
            },
            subresource="status",
        )
    # After the status: where that cannot be written, each try would tell the same once more.
    for event in chain(build_events(stack, stack.status.conditions, status.conditions, now), news):
        try:
            await api.create(event)
        except ApiError as error:
            logger.warning("an event could not be written: %s; it says: %s", error.message, event["note"])


def refusal_of(error: ValidationError) -> Verdict:
    """What is wrong with a spec."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return Verdict.true(Reason.SPEC_INVALID, f"{place}: {first['msg']}")


def by_former_spec(live: Object, former: AppStack) -> AppStack:
    """A stack as it is, with the last spec that could be read: by that one it runs."""
    return as_told(live).model_copy(update={"spec": former.spec})


def as_told(live: Object) -> AppStack:
    """A stack without its spec."""
    return AppStack.model_validate({"metadata": live["metadata"], "status": live.get("status") or {}})


async def report_stalled(api: Api, live: Object, why: Verdict, now: datetime) -> None:
    """Say why nothing is done, and that nobody looks whether users are served; everything else stays as it is."""
    stack = as_told(live)
    before = {each.type: each for each in stack.status.conditions}
    conditions = [
        unseen(kind, before.get(kind), stack, replace(why, status=status), now)
        for kind, status in (("Ready", UNKNOWN), ("HighlyAvailable", UNKNOWN), ("Stalled", TRUE))
    ]
    told_anew = {"Reconciling", *(each.type for each in conditions)}
    kept = [each for each in stack.status.conditions if each.type not in told_anew]
    # How many pods there are is not looked at any more; the one thing to know is this.
    summary = stack.status.summary or SummaryStatus()
    told = {"reason": why.reason.value, "message": conditions[-1].message}
    status = stack.status.model_copy(
        update={
            "conditions": [*conditions[:2], *kept, conditions[-1]],
            "observed_generation": stack.metadata.generation,
            "summary": summary.model_copy(update=told),
        }
    )
    await report(api, stack, live, status, now)


def unseen(kind: str, former: Condition | None, stack: AppStack, verdict: Verdict, now: datetime) -> Condition:
    """A condition of a stack that is not looked at; Ready goes on speaking for the generation that it spoke for."""
    is_same = former is not None and former.status == verdict.status
    spoke_for = former.observed_generation if former else 0
    return Condition(
        type=kind,
        status=verdict.status,
        reason=verdict.reason.value,
        message=verdict.message[:2000],
        last_transition_time=former.last_transition_time if former and is_same else f"{now:%Y-%m-%dT%H:%M:%SZ}",
        observed_generation=spoke_for if kind == "Ready" else stack.metadata.generation,
    )

"""Between passes: asks the services alone, without the API server, whether something is worth a pass."""

import asyncio
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum

from appstack_operator.api import AppStack
from appstack_operator.assess.stack import Assessment, assess_stack
from appstack_operator.bridging import AnswerMemory
from appstack_operator.client import Api, ApiError
from appstack_operator.desired.context import Context
from appstack_operator.folded import fold, outline, unfold
from appstack_operator.observe import observe_inputs, observe_services
from appstack_operator.observed import Observed
from appstack_operator.scaling import ScalingMemory, is_idle, scale_workers
from appstack_operator.services.external import ask_external
from appstack_operator.services.rabbitmq import ask_backlog, observe_external_queues

# As long as all is well, the services are asked less often: a change of roles shows in labels of pods, and wakes us
# at once. Only the number of workers follows queues in which something waits at every look; most are empty most of
# the time, and those are asked with everything else.
CALM_SECONDS = 15.0
# Each question to somebody else's service is a log-in there: fewer of them, but while it does not answer.
EXTERNAL_SECONDS = 15.0
# Nobody tells of a change in an object without our label ...
UNTOLD_SECONDS = 45.0
# ... nor that a moment has passed: of a stack that is well, that of a scheduled run, or of a metric that stays away.
JUDGED_SECONDS = 120.0


class Finding(Enum):
    """What a look comes to."""

    NEWS = "news"  # a pass would come to other conclusions or another number of workers, or nobody can tell
    WAITING = "waiting"  # there is a backlog, and there are as many workers as it needs
    IDLE = "idle"  # nothing waits for the pools that scale


@dataclass(frozen=True, slots=True)
class Look:
    """What the last pass over a stack saw and concluded."""

    stack: AppStack
    seen: Observed  # folded
    outline: Observed  # what the questions to services need of it
    context: Context
    assessment: Assessment
    answers: AnswerMemory
    versions: Mapping[str, str]  # uid -> resourceVersion, of all objects that it saw
    is_left_alone: bool = False  # paused, or with a spec that cannot be read: nothing of it is written

    @classmethod
    def of(
        cls,
        stack: AppStack,
        seen: Observed,
        context: Context,
        assessment: Assessment,
        answers: AnswerMemory,
        *,
        is_left_alone: bool = False,
    ) -> "Look":
        """To be kept until the next pass."""
        folded, brief, versions = fold(seen), outline(seen), versions_in(seen)
        return cls(stack, folded, brief, context, assessment, answers, versions, is_left_alone)


def versions_in(seen: Observed) -> dict[str, str]:
    """By uid: versions of different kinds may be equal, where they lie in different stores."""
    found = (obj["metadata"] for by_name in seen.objects.values() for obj in by_name.values())
    return {meta["uid"]: meta["resourceVersion"] for meta in found if meta.keys() >= {"uid", "resourceVersion"}}


async def rest(
    api: Api,
    look: Look | None,
    memory: ScalingMemory,
    delay_seconds: float,
    every_seconds: float,
) -> None:
    """Return when an input of the stack has changed, when services say news, or after the delay."""
    ends_at = time.monotonic() + delay_seconds
    asked_at = asked_external_at = untold_at = judged_at = time.monotonic()
    found = Finding.WAITING
    while (left_seconds := ends_at - time.monotonic()) > 0:
        await asyncio.sleep(min(left_seconds, every_seconds))
        if look is None:
            continue
        if is_calm(look) and time.monotonic() - asked_at < CALM_SECONDS:
            found = found if found is Finding.IDLE else await look_at_backlog(look, memory)
            if found is not Finding.NEWS:
                continue
        is_external_due = time.monotonic() - asked_external_at >= EXTERNAL_SECONDS or not all_answer(look)
        asked_at = time.monotonic()
        is_judged = is_calm(look) and asked_at - judged_at < JUDGED_SECONDS
        found = await look_at_services(look, memory, is_external_due=is_external_due, is_judged=is_judged)
        if found is Finding.NEWS:
            return
        if is_external_due:
            asked_external_at = asked_at
        if not is_judged:
            judged_at = asked_at
        if asked_at - untold_at >= UNTOLD_SECONDS:
            untold_at = asked_at
            if await inputs_have_changed(api, look):
                return


async def inputs_have_changed(api: Api, look: Look) -> bool:
    """Whether the user's own Secrets and ConfigMaps are no longer what the last pass read. Most stacks have none."""
    try:
        external, references = await observe_inputs(api, look.stack)
    except ApiError:
        return False  # the next look tells
    return (external, references) != (look.seen.external, look.seen.references)


def is_calm(look: Look) -> bool:
    """Whether the last pass found everything well."""
    return all(verdict.is_true for verdict in look.assessment.verdicts.values()) and all_answer(look)


async def look_at_backlog(look: Look, memory: ScalingMemory) -> Finding:
    """By the queues alone; idle where no pool scales on one, or there is nobody to ask."""
    pods, broker = look.outline.pods("rabbitmq"), look.seen.external.get("rabbitmq") or {}
    if not look.context.worker_replicas or not (pods or broker.get("RABBITMQ_MANAGEMENT_URL")):
        return Finding.IDLE
    told = await (observe_external_queues(broker) if broker else ask_backlog(pods, look.context.credentials))
    if told is None or told.error:
        return Finding.NEWS
    rabbitmq = replace(look.outline.rabbitmq, backlog=told.backlog, in_hand=told.in_hand, backlog_error="")
    return by_backlog(look, replace(look.outline, rabbitmq=rabbitmq, now=datetime.now(UTC)), memory)


def by_backlog(look: Look, seen: Observed, memory: ScalingMemory) -> Finding:
    """What the queues ask for by now."""
    if scale_workers(look.stack, seen, memory) != look.context.worker_replicas:
        return Finding.NEWS
    return Finding.IDLE if is_idle(look.stack, seen) else Finding.WAITING


def all_answer(look: Look) -> bool:
    """Whether every external service could be used in the last pass."""
    return not any(answer.error or answer.reads_error for answer in look.seen.external_answers.values())


async def look_at_services(look: Look, memory: ScalingMemory, *, is_external_due: bool, is_judged: bool) -> Finding:
    """By all services: whether they now lead to other conclusions than in the last pass.

    The same answers lead to the same ones, but for what time does: `is_judged` says that this was looked at just now.
    """
    outline = await observe_services(look.stack, look.outline, look.context.credentials, look.answers)
    outline = replace(outline, now=datetime.now(UTC))
    if is_external_due:
        outline = replace(outline, external_answers=await ask_external(look.seen.external))
    if not is_judged or answers_in(outline) != answers_in(look.seen):
        seen = replace(outline, objects=unfold(look.seen).objects)
        if conclusions(seen, assess_stack(look.stack, seen, look.context)) != conclusions(look.seen, look.assessment):
            return Finding.NEWS
    return by_backlog(look, outline, memory)


def answers_in(seen: Observed) -> Sequence[object]:
    """All that services have said."""
    return seen.postgres, seen.redis, seen.rabbitmq, seen.external_answers


def conclusions(seen: Observed, assessment: Assessment) -> Hashable:
    """What counts: verdicts and roles, not bytes of lag and not the words of messages."""
    verdicts = frozenset((name, each.status, each.reason) for name, each in assessment.verdicts.items())
    serves = frozenset(assessment.serves.items())
    standbys = frozenset(member.pod for member in seen.postgres.members if member.is_sync)
    broker = tuple((node.name, node.is_running, node.counts is None) for node in seen.rabbitmq.nodes)
    return verdicts, serves, seen.postgres.primary and seen.postgres.primary.pod, standbys, seen.redis.master, broker

"""Does a service use the passwords that its Secrets hold? Pure."""

from appstack_operator.api import AppStack
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.context import RECORD, Context
from appstack_operator.desired.credentials import PLACES, edited_credentials, service_of, what_is_wrong
from appstack_operator.objects import Object
from appstack_operator.observed import Observed

# What the operator can carry out in the running service.
ROTATED = ("postgres_app", "postgres_superuser", "postgres_replication", "rabbitmq", "api_token")


def secrets_are_in_force(component: str, stack: AppStack, seen: Observed, context: Context) -> Verdict | None:
    """No Secret of the component holds another password than the service uses."""
    for field, value in edited_credentials(stack, seen, context.credentials).items():
        last_name, key = PLACES[field]
        if not last_name.startswith(component) or field in context.waiting_edits:
            continue
        if why := what_is_wrong(field, value):
            return Verdict.false(
                Reason.SECRET_INVALID,
                f"Secret {stack.name}-{last_name}: the {key} cannot be used: {why}; another one stays in force. "
                "Correct it, or delete the Secret to get that one",
            )
        cannot = "could not be set yet" if field in ROTATED else "cannot be set while it runs"
        return Verdict.false(
            Reason.SECRET_INVALID,
            f"Secret {stack.name}-{last_name}: the {key} was edited and {cannot}; the former one stays in force. "
            "Delete the Secret to get it back",
        )
    return None


def passwords_are_known(component: str, stack: AppStack, seen: Observed, context: Context) -> Verdict | None:
    """Somebody beside the component's own pods knows the passwords that it was given."""
    lost = [field for field in context.lost if service_of(field) == component]
    if not lost:
        return None
    names = ", ".join(sorted({f"{stack.name}-{PLACES[field][0]}" for field in lost}))
    return Verdict.false(
        Reason.SECRET_MISSING,
        f"passwords of {component} stand neither in Secret {names} nor in the operator's copy {stack.name}-{RECORD} "
        f"any more. No new ones are made: they would open nothing. {way_back(component, seen)}",
    )


def way_back(component: str, seen: Observed) -> str:
    """Where passwords that are lost may still be had."""
    if holders(component, seen):
        return (
            "What runs goes on and is left alone; bring the Secrets back from a backup, or from the pods, which still "
            "hold them"
        )
    return (
        "No pod is left that holds them: bring the Secrets back from a backup; to begin with empty volumes, set "
        "deletionPolicy to Delete, delete the stack and apply it again"
    )


def holders(component: str, seen: Observed) -> list[Object]:
    """The pods that were given its passwords: one made after those were lost never begins."""
    return [pod for pod in seen.pods(component) if pod.get("status", {}).get("phase") == "Running"]

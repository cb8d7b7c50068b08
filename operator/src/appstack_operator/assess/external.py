"""Can a service of somebody else be used? Secret, keys, addresses, answer: the first that fails speaks. Pure."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from appstack_operator.api import AppStack, Mode
from appstack_operator.assess.verdict import Reason, Verdict
from appstack_operator.desired.credentials import decode
from appstack_operator.desired.environment import EXTERNAL_KEYS
from appstack_operator.observed import ExternalAnswer, Observed

NEEDS = {
    "postgres": (("DATABASE_URL",),),
    "redis": (("REDIS_URL",), ("REDIS_SENTINELS", "REDIS_SENTINEL_MASTER")),
    "rabbitmq": (("RABBITMQ_URL",),),
}
SCHEMES: Mapping[str, tuple[str, ...]] = {
    "DATABASE_URL": ("postgresql", "postgres"),
    "DATABASE_READONLY_URL": ("postgresql", "postgres"),
    "REDIS_URL": ("redis", "rediss"),
    "RABBITMQ_URL": ("amqp", "amqps"),
    "RABBITMQ_MANAGEMENT_URL": ("http", "https"),
}
KEYS = {**EXTERNAL_KEYS, "rabbitmq": ("RABBITMQ_URL", "RABBITMQ_MANAGEMENT_URL")}
Check = Callable[[str, AppStack, Observed], Verdict | None]


def secret_exists(component: str, stack: AppStack, seen: Observed) -> Verdict | None:
    """The Secret that the spec names is there."""
    if seen.external.get(component) is not None:
        return None
    return Verdict.false(Reason.SECRET_MISSING, f"Secret {secret_of(component, stack)} {purpose(component)} is missing")


def keys_are_there(component: str, stack: AppStack, seen: Observed) -> Verdict | None:
    """The Secret says where the service is, in one of the ways that the contract knows."""
    data, ways = data_of(component, seen), NEEDS[component]
    if any(all(data.get(key) for key in way) for way in ways):
        return None
    needed = ", or ".join(" and ".join(way) for way in ways)
    return Verdict.false(
        Reason.SECRET_INVALID, f"Secret {secret_of(component, stack)} {purpose(component)} lacks {needed}"
    )


def addresses_can_be_read(component: str, stack: AppStack, seen: Observed) -> Verdict | None:
    """Every URL is one, of a scheme that is understood. Its text may hold a password: it is not repeated."""
    data = data_of(component, seen)
    for key in KEYS[component]:
        if key in SCHEMES and data.get(key) and not is_url(data[key], SCHEMES[key]):
            wanted = " or ".join(f"{scheme}://" for scheme in SCHEMES[key])
            said = f"{key} in Secret {secret_of(component, stack)} is no URL that begins with {wanted} and names a host"
            return Verdict.false(Reason.SECRET_INVALID, said)
    for address in filter(None, data.get("REDIS_SENTINELS", "").split(",")):
        if not address.rpartition(":")[2].strip().isdigit():
            said = f"REDIS_SENTINELS in Secret {secret_of(component, stack)} is not a list of host:port"
            return Verdict.false(Reason.SECRET_INVALID, said)
    return None


def is_url(text: str, schemes: tuple[str, ...]) -> bool:
    """Whether it names a scheme of these and a host."""
    try:
        parts = urlsplit(text)
        if "," not in parts.netloc:  # PostgreSQL takes several hosts
            _ = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.netloc.rpartition("@")[2])


def service_answers(component: str, stack: AppStack, seen: Observed) -> Verdict | None:
    """The service lets the user in and can do what is needed."""
    answer = answer_of(component, seen)
    if not answer.error:
        return None
    reason = Reason.SECRET_INVALID if answer.is_refused else Reason.EXTERNAL_UNREACHABLE
    verb = "refuses the operator" if answer.is_refused else "cannot be used"
    name = secret_of(component, stack)
    said = f"the external {component} of Secret {name} {verb}: {answer.error}"
    return Verdict.false(reason, f"{said}{stray_blanks(component, seen)}")


def stray_blanks(component: str, seen: Observed) -> str:
    """What nobody sees in a Secret and may be all that is wrong with it: some clients forgive it, others do not."""
    data = data_of(component, seen)
    found = [key for key in KEYS[component] if data.get(key, "") != data.get(key, "").strip()]
    hint = "kubectl create secret --from-file keeps the newline at a file's end"
    return f"; {' and '.join(found)} begins or ends with a line break or a blank ({hint})" if found else ""


def reads_are_answered(component: str, stack: AppStack, seen: Observed) -> Verdict | None:
    """The address for reads, where one is given, answers too."""
    said = answer_of(component, seen).reads_error
    if not said:
        return None
    return Verdict.false(
        Reason.EXTERNAL_UNREACHABLE, f"the external {component} of Secret {secret_of(component, stack)}: {said}"
    )


CHECKS: tuple[Check, ...] = (
    secret_exists,
    keys_are_there,
    addresses_can_be_read,
    service_answers,
    reads_are_answered,
)


def assess_external(mode: Mode, component: str, stack: AppStack, seen: Observed) -> Verdict | None:
    """The verdict about a service of somebody else; None if the operator runs it."""
    if mode is Mode.MANAGED:
        return None
    verdicts = (check(component, stack, seen) for check in CHECKS)
    well = Verdict.true(Reason.HEALTHY, f"external: what Secret {secret_of(component, stack)} names answers")
    return next((verdict for verdict in verdicts if verdict), well)


def is_bound(component: str, stack: AppStack, seen: Observed) -> bool:
    """Whether the backend was given the very addresses that the Secret holds now."""
    secret = seen.external.get(component)
    environment = seen.get("Secret", f"{stack.name}-env")
    if secret is None or environment is None:
        return False
    bound = decode(environment)
    return all(bound.get(key) == secret[key] for key in EXTERNAL_KEYS[component] if key in secret)


def external_serves(component: str, stack: AppStack, seen: Observed, *, api_serves: bool) -> bool:
    """Whether users get at the service: it answers, or pods still run with what the Secret held before."""
    return not answer_of(component, seen).error if is_bound(component, stack, seen) else api_serves


def data_of(component: str, seen: Observed) -> Mapping[str, str]:
    """What the component's Secret holds."""
    return seen.external.get(component) or {}


def answer_of(component: str, seen: Observed) -> ExternalAnswer:
    """What the component's service answers."""
    return seen.external_answers.get(component, ExternalAnswer())


def secret_of(component: str, stack: AppStack) -> str:
    """The name of the component's Secret."""
    service = getattr(stack.spec, component)
    return service.external.secret_name if service.external else ""


def purpose(component: str) -> str:
    """What the Secret is for."""
    return f"for the external {component}"

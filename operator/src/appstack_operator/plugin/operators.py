"""Which Deployment is the operator that minds a namespace, and what it was configured with.

Anybody may put the operator's label on a Deployment of their own: that alone is believed of none.
"""

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from appstack_operator import __version__
from appstack_operator.client import Api, ApiError
from appstack_operator.kinds import BY_NAME, LEASE, Ref
from appstack_operator.objects import Object
from appstack_operator.observed import Observed
from appstack_operator.ownership import HASH, annotation
from appstack_operator.settings import Settings

OPERATOR_LABELS = "app.kubernetes.io/name=appstack-operator"
SERVICES = ("backend", "postgres", "redis", "rabbitmq")
IMAGES = {f"APPSTACK_IMAGE_{name.upper()}" for name in SERVICES}
FORBIDDEN = 403
# Renewed every 2 s, taken over within 16 s; the rest is for clocks that differ.
SILENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class FoundOperator:
    """The Deployment of the operator that minds a namespace; None: there is none that can be told, and why."""

    deployment: Object | None
    why_none: str = ""


async def find_operator(api: Api, operator_namespace: str, namespace: str, now: datetime) -> FoundOperator:
    """The one that is configured as an operator and minds this namespace; of several the one that is at work."""
    not_found = "the operator's Deployment was not found (--operator-namespace?)"
    try:
        labelled = await api.list(BY_NAME["Deployment"], operator_namespace, OPERATOR_LABELS)
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return FoundOperator(None, not_found)
    operators = [each for each in labelled if is_watching(each, namespace)]
    if len(operators) > 1:
        # One that cannot be looked at stays: it may be the one.
        operators = [each for each in operators if await may_be_at_work(api, each, now)] or operators
    if len(operators) > 1:
        places = ", ".join(f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in operators)
        return FoundOperator(None, f"several Deployments may be the operator (--operator-namespace?): {places}")
    return FoundOperator(operators[0]) if operators else FoundOperator(None, not_found)


def is_watching(deployment: Object, namespace: str) -> bool:
    """Whether it is configured as an operator, so that it could run, and minds a namespace."""
    variables = environment_of(deployment)
    if not all(variables.get(each) for each in IMAGES):
        return False
    try:
        watched = settings_of(variables).watch_namespaces
    except ValidationError:
        return False
    return not watched or namespace in watched


async def may_be_at_work(api: Api, deployment: Object, now: datetime) -> bool:
    """Whether its Lease has been renewed lately, as far as that can be seen."""
    try:
        return is_fresh(await api.get(lease_of(deployment)), now)
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return True


def lease_of(deployment: Object) -> Ref:
    """The Lease by which it works."""
    return Ref(LEASE.name, deployment["metadata"]["namespace"], settings_of(environment_of(deployment)).lease_name)


def renewed_at(lease: Object | None) -> str:
    """When somebody renewed it last; empty: nobody holds it."""
    return str(((lease or {}).get("spec") or {}).get("renewTime") or "")


def is_fresh(lease: Object | None, now: datetime) -> bool:
    """Whether somebody has renewed it lately."""
    at = renewed_at(lease)
    return bool(at) and (now - datetime.fromisoformat(at)).total_seconds() <= SILENCE_SECONDS


def find_settings(found: FoundOperator, seen: Observed) -> tuple[Settings, list[str]]:
    """What the operator was configured with; without it, what its pods show. And what a reader should know of that."""
    operator = found.deployment
    if operator is None:
        return settings_of(images_in_use(seen)), [f"{found.why_none}: images are taken from what runs"]
    version = operator["metadata"].get("labels", {}).get("app.kubernetes.io/version", "")
    is_other = version and version != __version__
    note = f"the operator is of version {version}, this command of {__version__}: their plans may differ"
    variables = environment_of(operator)
    if "APPSTACK_LEASE_NAMESPACE" in variables:  # taken from the pod's own namespace
        variables["APPSTACK_LEASE_NAMESPACE"] = str(operator["metadata"].get("namespace", ""))
    return settings_of(variables), [note] if is_other else []


def images_in_use(seen: Observed) -> dict[str, str]:
    """The images of the stack's own pods, as variables of the operator."""
    workloads = (obj for kind in ("StatefulSet", "Deployment") for obj in seen.of_kind(kind) if annotation(obj, HASH))
    containers = [each for obj in workloads for each in obj["spec"]["template"]["spec"]["containers"]]
    found = {each["name"]: each["image"] for each in containers}
    names = {"backend": "api"} | {name: name for name in SERVICES[1:]}
    return {f"APPSTACK_IMAGE_{name.upper()}": found[key] for name, key in names.items() if key in found}


def environment_of(deployment: Object) -> dict[str, str]:
    """The variables of the operator's container: the one that is told which images are bundled."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    found = [
        {each["name"]: str(each.get("value", "")) for each in container.get("env") or []} for container in containers
    ]
    return next((each for each in found if each.keys() & IMAGES), {})


def settings_of(environment: dict[str, str]) -> Settings:
    """Settings from the operator's variables; an image that is not among them has a placeholder."""
    images = {f"image_{name}": f"appstack.dev/{name}" for name in SERVICES}
    known = {
        field: environment[key]
        for field in Settings.model_fields
        if environment.get(key := f"APPSTACK_{field.upper()}")  # one that is taken from elsewhere is not known
    }
    return Settings(**{**images, **known})  # type: ignore[arg-type]

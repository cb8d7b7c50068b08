"""The way to the cluster of a kubeconfig, for reading alone, and what the operator there was configured with."""

import os
from pathlib import Path

from kubernetes.aio import client, config
from yaml import YAMLError

from appstack_operator import __version__
from appstack_operator.client import Api, ApiError
from appstack_operator.kinds import BY_NAME, STACK, Ref
from appstack_operator.objects import Object
from appstack_operator.observed import Observed
from appstack_operator.plugin.errors import UserError
from appstack_operator.settings import Settings

OPERATOR_LABELS = "app.kubernetes.io/name=appstack-operator"
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
SERVICES = ("backend", "postgres", "redis", "rabbitmq")
LIMIT_SECONDS = 30.0
NOT_FOUND, FORBIDDEN = 404, 403


async def connect(kubeconfig: str | None, context: str | None) -> tuple[Api, str]:
    """The API server, as a client that refuses to write, and the namespace of the context."""
    configuration = client.Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    if not is_there(path):
        return connect_from_pod(configuration, path)
    try:
        await config.load_kube_config(path, context, configuration, persist_config=False)  # type: ignore[no-untyped-call]
        contexts, active = config.list_kube_config_contexts(path)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError, ValueError, YAMLError) as error:
        raise UserError(f"kubeconfig {path}: {error}") from error
    except (TypeError, KeyError, AttributeError) as error:  # YAML, and of another shape
        raise UserError(f"kubeconfig {path}: this is no kubeconfig ({error!r})") from error
    chosen = next((each for each in contexts if each["name"] == context), active)
    return readonly(configuration), chosen["context"].get("namespace") or "default"


def is_there(path: str) -> bool:
    """Whether one of the files of a KUBECONFIG exists."""
    return any(Path(each).exists() for each in path.split(os.pathsep))


def connect_from_pod(configuration: client.Configuration, path: str) -> tuple[Api, str]:
    """With the service account of the pod that this runs in."""
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        raise UserError(f"no kubeconfig at {path}: set KUBECONFIG or give --kubeconfig") from None
    namespace = NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.exists() else "default"
    return readonly(configuration), namespace


def readonly(configuration: client.Configuration) -> Api:
    """Whatever a bug may do: this client sends no write but a dry run."""
    limits = {"read_seconds": LIMIT_SECONDS, "write_seconds": LIMIT_SECONDS}
    return Api(client.ApiClient(configuration), may_write=lambda: False, **limits)


async def check_kind(api: Api, namespace: str) -> None:
    """The cluster knows AppStacks."""
    try:
        await api.list(STACK, namespace)
    except ApiError as error:
        if error.status == NOT_FOUND:
            message = (
                "this cluster does not know AppStacks: install the chart appstack-operator, or kubectl apply -f crds/"
            )
            raise UserError(message) from error
        raise


async def find_operator(api: Api, operator_namespace: str, namespace: str) -> Object | None:
    """The Deployment of the operator that watches a namespace; None where there is none or it may not be seen."""
    try:
        operators = await api.list(BY_NAME["Deployment"], operator_namespace, OPERATOR_LABELS)
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return None
    return next((each for each in operators if is_watching(each, namespace)), None)


def is_watching(operator: Object, namespace: str) -> bool:
    """Whether an operator minds a namespace."""
    watched = settings_of(environment_of(operator)).watch_namespaces
    return not watched or namespace in watched


def find_settings(operator: Object | None, seen: Observed) -> tuple[Settings, list[str]]:
    """What the operator was configured with; without it, what its pods show. And what a reader should know of that."""
    if operator is None:
        note = "the operator's Deployment was not found (--operator-namespace?): images are taken from what runs"
        return settings_of(images_in_use(seen)), [note]
    version = operator["metadata"].get("labels", {}).get("app.kubernetes.io/version", "")
    is_other = version and version != __version__
    note = f"the operator is of version {version}, this command of {__version__}: their plans may differ"
    variables = environment_of(operator)
    if "APPSTACK_LEASE_NAMESPACE" in variables:  # taken from the pod's own namespace
        variables["APPSTACK_LEASE_NAMESPACE"] = str(operator["metadata"].get("namespace", ""))
    return settings_of(variables), [note] if is_other else []


def images_in_use(seen: Observed) -> dict[str, str]:
    """The images of the stack's own pods, as variables of the operator."""
    templates = [obj["spec"]["template"] for kind in ("StatefulSet", "Deployment") for obj in seen.of_kind(kind)]
    containers = [each for template in templates for each in template["spec"]["containers"]]
    found = {each["name"]: each["image"] for each in containers}
    names = {"backend": "api"} | {name: name for name in SERVICES[1:]}
    return {f"APPSTACK_IMAGE_{name.upper()}": found[key] for name, key in names.items() if key in found}


def environment_of(deployment: Object) -> dict[str, str]:
    """The variables of the operator's container."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: str(each.get("value", "")) for each in containers[0].get("env") or []}


def settings_of(environment: dict[str, str]) -> Settings:
    """Settings from the operator's variables; an image that is not among them has a placeholder."""
    images = {f"image_{name}": f"appstack.dev/{name}" for name in SERVICES}
    known = {
        field: environment[key]
        for field in Settings.model_fields
        if (key := f"APPSTACK_{field.upper()}") in environment
    }
    return Settings(**{**images, **known})  # type: ignore[arg-type]


async def get_stack(api: Api, namespace: str, name: str) -> Object:
    """A stack that has to exist."""
    live = await find_stack(api, namespace, name)
    if live is None:
        await check_kind(api, namespace)
        others = [each["metadata"]["name"] for each in await api.list(STACK, namespace)]
        there = f"; there are: {', '.join(others)}" if others else "; there is none (another namespace? -n)"
        raise UserError(f"no AppStack {name} in namespace {namespace}{there}")
    return live


async def find_stack(api: Api, namespace: str, name: str) -> Object | None:
    """A stack, or None."""
    return await api.get(Ref(STACK.name, namespace, name))

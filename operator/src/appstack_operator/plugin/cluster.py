"""The way to the cluster of a kubeconfig, for reading alone."""

import os
from pathlib import Path

from kubernetes.aio import client, config
from yaml import YAMLError

from appstack_operator.client import Api, ApiError
from appstack_operator.kinds import STACK, Ref
from appstack_operator.objects import Object
from appstack_operator.plugin.errors import UserError

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
LIMIT_SECONDS = 30.0
NOT_FOUND = 404


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

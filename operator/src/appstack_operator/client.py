"""The thin door to the API server: typed by kind, uncached, every request with a deadline."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import getproxies

import aiohttp
import orjson
from kubernetes.aio import client, config

from appstack_operator.kinds import BY_NAME, Kind, Ref
from appstack_operator.metrics import REQUESTS
from appstack_operator.objects import FIELD_MANAGER, Object

APPLY_PATCH = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
# A look at a stack is some twenty reads together. Of many looks at once each would end as late as the last one, and the
# writes that follow would stand behind them all.
LOOKS_AT_ONCE = 4
# Each open connection costs 300 KB (Python's TLS alone holds a buffer of 256); a pass opens no more than it has reads.
CONNECTIONS = 32


MAY_NOT_WRITE = "MayNotWrite"  # a reason that no API server gives


class ApiError(Exception):
    """The API server refused, or did not answer (status 0)."""

    def __init__(self, status: int, reason: str, message: str, causes: Sequence[tuple[str, str]] = ()) -> None:
        """Keep the parts: callers decide by the status, people read the message, or the causes: (field, why)."""
        super().__init__(message)
        self.causes = causes
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def is_conflict(self) -> bool:
        """Somebody else was there first: AlreadyExists, or a changed object."""
        return self.status == 409

    @property
    def is_passing(self) -> bool:
        """Trying again may help: no answer, too many requests, a failing server; or a look that was too old."""
        return self.status in (0, 408, 409, 410, 429) or self.status >= 500 or self.is_about_another

    @property
    def is_about_another(self) -> bool:
        """The object that was meant is gone, and another one has its name: a patch would give that a new uid."""
        return self.status == 422 and any(field == "metadata.uid" for field, _ in self.causes)


def address_in_cluster(environment: Mapping[str, str]) -> str | None:
    """The API server's URL by address, as Kubernetes tells every pod; None outside a cluster."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        return None
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


class Api:
    """Reads and writes objects of the kinds that a stack is made of."""

    def __init__(
        self,
        api_client: client.ApiClient,
        may_write: Callable[[], bool] = lambda: True,
        read_seconds: float = 10,
        write_seconds: float = 5,
    ) -> None:
        """Use a configured client; no request takes longer than this, and no write begins unless it may."""
        self.looks = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._client = api_client
        self.may_write = may_write
        self._read_seconds, self._write_seconds = read_seconds, write_seconds

    @classmethod
    async def connect(cls, **limits: Any) -> Self:
        """Connect with the pod's service account, or with the current kubeconfig outside a cluster."""
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        configuration.connection_pool_maxsize = CONNECTIONS
        # aiohttp would look for proxies and a .netrc at each request.
        configuration.client_session_kwargs = {"trust_env": bool(getproxies())}
        return cls(client.ApiClient(configuration), **limits)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server knows this kind: a CRD may come later than the operator, or go."""
        found = await self._call("GET", "discover", kind, "/apis")
        if not any(group["name"] == kind.group for group in found["groups"]):
            return False
        try:
            found = await self._call("GET", "discover", kind, f"/apis/{kind.api_version}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return any(resource["name"] == kind.plural for resource in found["resources"])

    async def list(self, kind: Kind, namespace: str, labels: str = "", fields: str = "") -> list[Object]:
        """All objects of a kind in a namespace, read from etcd, not from a cache."""
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        answer = await self._call("GET", "list", kind, kind.path(namespace), query)
        return [{"apiVersion": kind.api_version, "kind": kind.name, **item} for item in answer["items"]]

    async def get(self, ref: Ref) -> Object | None:
        """One object, or None where there is none."""
        kind = BY_NAME[ref.kind]
        try:
            answer: Object = await self._call("GET", "get", kind, kind.path(ref.namespace, ref.name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return answer

    async def create(self, obj: Object) -> Object:
        """Make a new object; an object of that name is an error (409), never adopted."""
        kind = BY_NAME[obj["kind"]]
        path = kind.path(obj["metadata"]["namespace"])
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        answer: Object = await self._call("POST", "create", kind, path, query, obj)
        return answer

    async def apply(self, obj: Object, subresource: str = "", *, manager: str = FIELD_MANAGER) -> Object:
        """Server-side apply: our fields become what `obj` says, fields of others stay."""
        kind = BY_NAME[obj["kind"]]
        path = kind.path(obj["metadata"]["namespace"], obj["metadata"]["name"])
        query = {"fieldManager": manager, "force": "true"}
        if subresource:
            path = f"{path}/{subresource}"
        answer: Object = await self._call("PATCH", "apply", kind, path, query, obj, APPLY_PATCH)
        return answer

    async def patch(self, ref: Ref, patch: Any, subresource: str = "") -> Object:
        """A JSON patch (a list) or a merge patch (an object)."""
        kind = BY_NAME[ref.kind]
        path = kind.path(ref.namespace, ref.name) + (f"/{subresource}" if subresource else "")
        content_type = JSON_PATCH if isinstance(patch, list) else MERGE_PATCH
        query = {"fieldManager": FIELD_MANAGER}
        answer: Object = await self._call("PATCH", "patch", kind, path, query, patch, content_type)
        return answer

    async def dry_run(self, method: str, path: str, kind: Kind, body: Object, **options: str) -> Object:
        """What a write would make of an object, checked by the API server in full; nothing is written."""
        content_type = {"PATCH": MERGE_PATCH, "APPLY": APPLY_PATCH}.get(method, "application/json")
        query = {"fieldValidation": "Strict", **options, "dryRun": "All"}
        verb = "PATCH" if method == "APPLY" else method
        answer: Object = await self._call(verb, "dry-run", kind, path, query, body, content_type)
        return answer

    async def delete(
        self, ref: Ref, uid: str = "", *, propagation: str = "Background", grace_seconds: int | None = None
    ) -> None:
        """Delete this very object (a uid names it); one that is gone already is fine. None: with its own grace."""
        kind = BY_NAME[ref.kind]
        options: Object = {"propagationPolicy": propagation}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._call("DELETE", "delete", kind, kind.path(ref.namespace, ref.name), {}, options)
        except ApiError as error:
            if error.status != 404:
                raise

    async def evict(self, ref: Ref, uid: str, *, is_trial: bool = False) -> None:
        """Ask for the end of this very pod, as a drain does: its budget may refuse (429). A trial only asks whether."""
        kind = BY_NAME[ref.kind]
        body: Object = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": ref.name, "namespace": ref.namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        try:
            query = {"dryRun": "All"} if is_trial else {}
            await self._call("POST", "evict", kind, f"{kind.path(ref.namespace, ref.name)}/eviction", query, body)
        except ApiError as error:
            if error.status != 404:
                raise

    async def _call(
        self,
        method: str,
        verb: str,
        kind: Kind,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        """One request; every failure is an ApiError."""
        REQUESTS.labels(verb, kind.name).inc()
        is_write = method != "GET"
        seconds = self._write_seconds if is_write else self._read_seconds
        if is_write:
            # The server gives up too: what we no longer wait for must not be done later.
            query = {**(query or {}), "timeout": f"{int(seconds * 1000)}ms"}
        resource = f"{path}?{urlencode(query)}" if query else path
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            _, url, headers, _, _ = await self._client.param_serialize(
                method, resource, header_params=headers, auth_settings=["BearerToken"]
            )
            if is_write and verb != "dry-run" and not self.may_write():
                raise ApiError(0, MAY_NOT_WRITE, "this process writes no more: it is told to stop, or holds no Lease")
            timeout = aiohttp.ClientTimeout(total=seconds)
            response = await self._client.call_api(method, url, headers, body=body, _request_timeout=timeout)
            content = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, "NoAnswer", f"the API server does not answer: {error!r}") from error
        if response.status >= 400:
            raise error_of(response.status, content)
        return orjson.loads(content) if content else None


def error_of(status: int, content: bytes) -> ApiError:
    """The error in an answer of the API server, whose body usually is a Status object."""
    try:
        answer = orjson.loads(content)
        found = (answer.get("details") or {}).get("causes") or []
        causes = [(str(each.get("field", "")), str(each.get("message", ""))) for each in found]
        return ApiError(status, str(answer.get("reason", "")), str(answer.get("message", "")), causes)
    except (ValueError, AttributeError):
        return ApiError(status, "", content.decode(errors="replace")[:500])

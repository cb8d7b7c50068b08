"""What `kubectl apply` would make of a manifest: defaults filled in, rules checked, nothing written."""

import json
from dataclasses import dataclass
from typing import Any

from appstack_operator.client import Api, ApiError
from appstack_operator.kinds import STACK
from appstack_operator.objects import Object
from appstack_operator.plugin.errors import UserError, refusal

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Applying:
    """How the user is going to apply."""

    server_side: bool = False
    manager: str = "kubectl"
    force_conflicts: bool = False


async def dry_run(api: Api, manifest: Object, live: Object | None, how: Applying) -> Object:
    """The AppStack as it would be; a refusal tells the field and what to do."""
    name = manifest["metadata"]["name"]
    content = {key: value for key, value in manifest.items() if key != "status"}
    path = STACK.path(manifest["metadata"]["namespace"], name)
    try:
        if live is not None and not how.server_side:
            return await api.dry_run("PATCH", path, STACK, merge_patch(content, last_applied(live)))
        if how.server_side:
            options = {"fieldManager": how.manager, "force": str(how.force_conflicts).lower()}
            return await api.dry_run("APPLY", path, STACK, content, **options)
        return await api.dry_run("POST", STACK.path(manifest["metadata"]["namespace"]), STACK, content)
    except ApiError as error:
        if error.status == CONFLICT and how.server_side:
            raise UserError(f"AppStack {name}: {error.message} (--force-conflicts takes the fields over)") from error
        if error.is_passing:
            raise
        raise refusal(f"AppStack {name}", error) from error


def last_applied(live: Object) -> Object:
    """What kubectl applied last, by its own note."""
    note = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED, "{}")
    try:
        found = json.loads(note)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def merge_patch(manifest: Object, former: Object) -> Object:
    """The patch that kubectl sends: all of the manifest, and a null for what only the former manifest had."""
    patch: dict[str, Any] = dict(manifest)
    for key, value in former.items():
        if key not in manifest:
            if key != "status":
                patch[key] = None
        elif isinstance(value, dict) and isinstance(manifest[key], dict):
            patch[key] = merge_patch(manifest[key], value)
    return patch

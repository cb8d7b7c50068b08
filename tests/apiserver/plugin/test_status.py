"""kubectl appstack status, against a real API server with a converged stack."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import yaml

from appstack_operator.kinds import BY_NAME, EVENT, STACK
from tests.apiserver.kit.cast import MERGE
from tests.apiserver.kit.life import NAME, Life
from tests.apiserver.kit.plugin import Plugin, kept, steady
from tests.apiserver.kit.plugin_stack import HOME, NAMESPACE, status


@pytest.mark.parametrize(
    ("silent_seconds", "says"), [(None, "there is no Lease"), (600.0, "has not been renewed since")]
)
async def test_status_says_that_no_operator_keeps_it_up_to_date(
    shop: Life, plugin: Plugin, silent_seconds: float | None, says: str
) -> None:
    outcome = await status(shop, plugin, silent_seconds=silent_seconds)
    assert outcome.code == 3
    first = outcome.out.splitlines()[1]
    assert "no operator is at work" in first
    assert f"{HOME}/appstack-operator" in first
    assert says in first
    told = json.loads((await plugin.run("status", NAME, "-o", "json")).out)["operator"]
    assert told["isAway"] is True
    assert told["message"] in first
    assert bool(told["renewedAt"]) is (silent_seconds is not None)


async def test_an_operator_that_renews_its_lease_is_no_news(shop: Life, plugin: Plugin) -> None:
    told = json.loads((await status(shop, plugin, "-o", "json", silent_seconds=20)).out)
    assert (told["operator"]["isAway"], told["operator"]["message"]) == (False, "")


async def test_status_says_where_it_cannot_tell(shop: Life, plugin: Plugin) -> None:
    outcome = await status(shop, plugin, "--operator-namespace", NAMESPACE)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].startswith("! the operator's Deployment was not found")


async def test_status_is_a_tree(shop: Life, plugin: Plugin) -> None:
    outcome = await status(shop, plugin)
    assert steady(outcome.out) == kept("status-ready", steady(outcome.out))
    assert (outcome.code, outcome.err) == (0, "")


async def test_status_is_data_too(shop: Life, plugin: Plugin) -> None:
    report = json.loads(steady((await plugin.run("status", NAME, "-o", "json")).out))
    assert yaml.safe_load(steady((await plugin.run("status", NAME, "-o", "yaml")).out)) == report
    assert (report["isReady"], report["isStalled"]) == (True, False)
    (available,) = [each for each in report["overall"] if each["type"] == "HighlyAvailable"]
    assert available["runbook"] == f"docs/runbooks/{available['reason']}.md"
    assert {part["title"] for part in report["parts"]} >= {"PostgreSQL", "API", "Workers"}


async def test_status_names_what_keeps_a_stack_from_being_ready(shop: Life, plugin: Plugin) -> None:
    """A new image that cannot be pulled, an unbound claim: the causes stand at the objects."""
    await shop.ask("PATCH", STACK.path(NAMESPACE, NAME), json={"spec": {"paused": True}}, headers=MERGE)
    pod = BY_NAME["Pod"].path(NAMESPACE, "shop-api-0")
    claim = BY_NAME["PersistentVolumeClaim"].path(NAMESPACE, "data-shop-postgres-0")
    was = (await shop.ask("GET", pod))["status"]
    waiting = {"reason": "ImagePullBackOff", "message": "back-off pulling image"}
    container = {"name": "api", "image": "shop:1", "imageID": "", "ready": False, "restartCount": 0}
    broken = {
        "phase": "Pending",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T12:00:00Z"}],
        "containerStatuses": [{**container, "state": {"waiting": waiting}}],
    }
    await shop.ask("PATCH", f"{pod}/status", json={"status": broken}, headers=MERGE)
    await shop.ask("PATCH", f"{claim}/status", json={"status": {"phase": "Pending"}}, headers=MERGE)
    await is_counted_as_not_ready(shop, "shop-api")
    await shop.ask("POST", EVENT.path(NAMESPACE), json=a_warning("data-shop-postgres-0", "no storage class 'fast'"))
    outcome = await status(shop, plugin)
    assert steady(outcome.out) == kept("status-broken", steady(outcome.out))
    assert outcome.code == 2, "the operator has not seen the last change yet"
    await shop.ask("PATCH", f"{pod}/status", json={"status": {**was, "containerStatuses": None}}, headers=MERGE)
    await shop.ask("PATCH", STACK.path(NAMESPACE, NAME), json={"spec": {"paused": False}}, headers=MERGE)
    await shop.undisturbed(shop.is_ready)


async def is_counted_as_not_ready(shop: Life, deployment: str) -> None:
    """Wait for the controller, which sees a while later than the pod itself that it is not ready."""
    path = BY_NAME["Deployment"].path(NAMESPACE, deployment)
    async with asyncio.timeout(120):
        while (await shop.ask("GET", path))["status"].get("readyReplicas"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def a_warning(claim: str, note: str) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{claim}.1"},
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "action": "Provision",
        "note": note,
        "regarding": {"kind": "PersistentVolumeClaim", "name": claim, "namespace": NAMESPACE},
        "eventTime": "2026-01-01T12:00:00.000000Z",
        "reportingController": "test",
        "reportingInstance": "test",
    }

"""kubectl appstack as a whole: errors, passwords, colours, help, and what kubectl itself does with a stack."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from typing import Any

import pytest
import yaml

from appstack_operator.kinds import STACK
from appstack_operator.plugin.commands import EXIT_CODES
from tests.apiserver.kit.life import NAME, Life
from tests.apiserver.kit.plugin import Plugin, run_with
from tests.apiserver.kit.plugin_stack import HOME, NAMESPACE, a_manifest, kubectl, plan, status
from tests.apiserver.kit.snapshot import passwords

ERRORS = {
    "no such file": (["plan", "-f", "/nowhere.yaml"], "", "/nowhere.yaml: no such file"),
    "invalid YAML": (["plan", "-f", "-"], "a: [", "standard input is not valid YAML: "),
    "empty input": (["plan", "-f", "-"], "", "no AppStack in it"),
    "other kinds only": (
        ["plan", "-f", "-"],
        "kind: Secret\nmetadata: {name: a}",
        "no AppStack in it; it holds Secret a",
    ),
    "no object": (["plan", "-f", "-"], "[1, 2]", "not a Kubernetes object"),
    "another version": (["plan", "-f", "-"], "kind: AppStack\napiVersion: v1", "must be appstack.dev/v1alpha1"),
    "no name": (["plan", "-f", "-"], "kind: AppStack\napiVersion: appstack.dev/v1alpha1", "metadata.name is missing"),
    "no such stack": (["status", "shap"], "", "no AppStack shap in namespace plugin; there are: shop"),
    "no stacks there": (["status", "shop", "-n", "default"], "", "there is none (another namespace? -n)"),
    "no such context": (["status", "shop", "--context", "x"], "", "x"),
    "no command": ([], "", "usage: kubectl appstack"),
    "an unknown option": (["status", "shop", "--wide"], "", "unrecognized arguments: --wide"),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_an_error_says_what_to_do(shop: Life, plugin: Plugin, name: str) -> None:
    words, stdin, sentence = ERRORS[name]
    options = ["--kubeconfig", str(plugin.kubeconfig)] if words else []
    outcome = await run_with([*words, *options], stdin)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("error: ")
    assert sentence in outcome.err


async def test_without_a_kubeconfig_one_is_asked_for(plugin: Plugin) -> None:
    outcome = await Plugin(plugin.kubeconfig.with_name("missing")).run("status", NAME)
    assert outcome.code == 1
    assert "set KUBECONFIG or give --kubeconfig" in outcome.err


async def test_no_output_holds_a_password(shop: Life, plugin: Plugin) -> None:
    """A changed Secret, a new stack, a status: in no form, plain or encoded."""
    held = await passwords(shop.cast)
    values = {value for data in held.values() for key, value in data.items() if "password" in key or "cookie" in key}
    assert values
    values |= {base64.b64decode(value).decode() for value in values}
    hidden = {"REDIS_URL": "redis://:hidden-word@elsewhere:6379/0"}
    await shop.ask("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", json=a_secret("other-redis", hidden))
    for form in ("text", "json", "yaml"):
        other = {"mode": "External", "external": {"secretName": "other-redis"}}
        changed = await plan(plugin, a_manifest(redis=other), "-o", form)
        assert changed.code == 2
        assert "shop-env" in changed.out
        created = await plan(plugin, a_manifest("new"), "-o", form)
        status = await plugin.run("status", NAME, "-o", form)
        told = changed.out + created.out + status.out
        assert not [value for value in (*values, "hidden-word") if value in told]


def a_secret(name: str, data: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "stringData": data}


async def test_kubectl_finds_the_command(shop: Life, plugin: Plugin) -> None:
    await status(shop, plugin)  # an operator is at work
    assert (await kubectl(plugin, "appstack", "status", NAME)).startswith("AppStack plugin/shop")


async def test_kubectl_scales_the_api(shop: Life, plugin: Plugin) -> None:
    await kubectl(plugin, "scale", "appstack", NAME, "--replicas=3")
    await shop.undisturbed(shop.is_ready)
    scale = await shop.ask("GET", f"{STACK.path(NAMESPACE, NAME)}/scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (3, 3)
    pods = await kubectl(plugin, "get", "pods", "-l", scale["status"]["selector"], "-o", "name")
    assert len(pods.split()) == 3
    await kubectl(plugin, "scale", "appstack", NAME, "--replicas=1")
    await shop.undisturbed(shop.is_ready)


@pytest.mark.parametrize(("choice", "is_coloured"), [("always", True), ("never", False), ("auto", False)])
async def test_colours_are_for_terminals(shop: Life, plugin: Plugin, choice: str, is_coloured: bool) -> None:
    for words in (["status", NAME], ["plan", "-f", "-", "--operator-namespace", HOME]):
        manifest = yaml.safe_dump(a_manifest(postgres={"instances": 1, "parameters": {"work_mem": "8MB"}}))
        outcome = await plugin.run(*words, "--color", choice, stdin=manifest)
        assert ("\033[" in outcome.out) is is_coloured


async def test_the_command_can_be_asked_for_help(plugin: Plugin) -> None:
    for command, codes in EXIT_CODES.items():
        command_line = [sys.executable, "-m", "appstack_operator.plugin.main", command, "--help"]
        done = await asyncio.to_thread(subprocess.run, command_line, capture_output=True, text=True, check=True)
        assert codes in done.stdout

"""`python -m bench.operator.respond KUBE FOLDER`: binds pods to the kwok node and answers for them, until killed.

It listens on all addresses, so it belongs into a network namespace of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import TYPE_CHECKING, Any

from appstack_operator.objects import STACK_LABEL, component_of
from bench.operator.site import client_of
from tests.apiserver.kit.responders import PORTS, Member, Responders

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

NODE = "kwok"


async def watch(client: httpx.AsyncClient, path: str) -> AsyncIterator[dict[str, Any]]:
    """Every object of a collection, and each of its changes, for ever."""
    while True:
        answer = (await client.get(path)).json()
        for item in answer["items"]:
            yield {"type": "ADDED", "object": item}
        query = {"watch": "true", "resourceVersion": answer["metadata"]["resourceVersion"], "timeoutSeconds": "3600"}
        async with client.stream("GET", path, params=query, timeout=None) as stream:
            async for line in stream.aiter_lines():
                yield json.loads(line)


async def play_scheduler(client: httpx.AsyncClient, responders: Responders) -> None:
    """Bind each new pod; know who answers at which address."""
    async for event in watch(client, "/api/v1/pods"):
        pod = event["object"]
        meta, address = pod["metadata"], pod.get("status", {}).get("podIP")
        if event["type"] == "ADDED" and not pod["spec"].get("nodeName"):
            binding = {"metadata": {"name": meta["name"]}, "target": {"kind": "Node", "name": NODE}}
            await client.post(f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/binding", json=binding)
        component = component_of(pod)
        if not address or component not in PORTS:
            continue
        member = Member(meta["namespace"], meta["labels"][STACK_LABEL], component, meta["name"])
        if event["type"] == "DELETED":
            responders.forget(address)
        else:
            responders.settle(address, member)


async def learn_passwords(client: httpx.AsyncClient, responders: Responders) -> None:
    async for event in watch(client, "/api/v1/secrets"):
        meta, data = event["object"]["metadata"], event["object"].get("data") or {}
        stack, _, service = meta["name"].removesuffix("-auth").rpartition("-")
        if service in ("redis", "rabbitmq") and "password" in data:
            password = base64.b64decode(data["password"]).decode()
            responders.passwords[meta["namespace"], stack, service] = password


async def learn_addresses(client: httpx.AsyncClient, responders: Responders) -> None:
    async for event in watch(client, "/api/v1/services"):
        meta = event["object"]["metadata"]
        responders.announced[meta["namespace"], meta["name"]] = event["object"]["spec"].get("clusterIP", "")


async def main() -> None:
    responders = Responders(backlog={"bulk": 0})
    async with client_of(sys.argv[1]) as client, responders.answering():
        await responders.listen_everywhere()
        tasks = (play_scheduler, learn_passwords, learn_addresses)
        await asyncio.gather(*(task(client, responders) for task in tasks))


if __name__ == "__main__":
    asyncio.run(main())

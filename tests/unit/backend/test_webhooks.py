"""Webhooks: the signature of the standard's own example, and which addresses are public."""

from __future__ import annotations

import asyncio
import socket
import threading

import httpcore
import pytest

from appstack_backend.webhooks import guard
from appstack_backend.webhooks.names import MOST_ASKED, Names, NamesBusy
from appstack_backend.webhooks.sign import new_secret, signature


def test_the_signature_is_that_of_the_standards_example() -> None:
    secret, message = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    signed = signature(secret, message, 1614265330, '{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_differ() -> None:
    assert len({new_secret() for _ in range(100)}) == 100


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert guard.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fec0::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::a00:1"),
        *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "::7f00:1", "::a00:1", "4000::1"),
    ],
)
def test_other_addresses(address: str) -> None:
    assert not guard.is_public(address)


async def test_a_name_is_checked_each_time_and_by_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [["8.8.8.8"], ["127.0.0.1"], ["8.8.8.8", "10.0.0.1"]]

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    monkeypatch.setattr(guard.NAMES, "resolve", resolve)
    assert await guard.public_addresses("rebinding.test", 80, allow_private=False) == ["8.8.8.8"]
    async with httpcore.AsyncConnectionPool(network_backend=guard.GuardedNetwork(allow_private=False)) as pool:
        for _ in range(2):
            with pytest.raises(guard.AddressRefused):
                await pool.request("POST", "http://rebinding.test/")
    assert answers == []


async def test_names_that_nobody_resolves_keep_nothing_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gave up waiting leaves a thread behind; the database and the broker need theirs."""
    answers = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.wait(60) and [])
    names = Names()
    asking = [asyncio.create_task(names.resolve(f"slow-{number}.test", 80)) for number in range(100)]
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(50):
            assert await asyncio.to_thread(lambda: "done") == "done"
    finally:
        answers.set()
        told = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in told] == [list] * MOST_ASKED + [NamesBusy] * (100 - MOST_ASKED)


async def test_one_name_is_asked_for_once_however_many_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever gives up ends it for nobody else. Once it is answered it is asked for anew."""
    answers, asked = threading.Event(), []

    def getaddrinfo(host: str, _port: int, **_: object) -> list[object]:
        asked.append(host)
        answers.wait(60)
        return [(0, 0, 0, "", ("192.0.2.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    names = Names(most=2)
    asking = [asyncio.create_task(names.resolve("slow.test", 80)) for _ in range(10)]
    await asyncio.sleep(0)
    asking[0].cancel()
    other = asyncio.create_task(names.resolve("other.test", 80))
    await asyncio.sleep(0)
    answers.set()
    assert await asyncio.gather(*asking[1:], other) == [["192.0.2.1"]] * 10
    assert await names.resolve("slow.test", 80) == ["192.0.2.1"]
    assert sorted(asked) == ["other.test", "slow.test", "slow.test"]


async def test_a_name_that_cannot_be_asked_for_is_no_address() -> None:
    with pytest.raises(OSError, match="not valid"):
        await Names().resolve("a" * 64 + ".test", 80)


def test_a_target_is_its_origin() -> None:
    assert guard.origin("https://Example.com/a?b") == "https://example.com:443"
    assert guard.origin("http://example.com:8080/") == "http://example.com:8080"

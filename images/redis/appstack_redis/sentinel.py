"""Starts a Sentinel: finds the master first, keeps the Sentinel's identity, then becomes it."""

import hashlib
import json
import logging
import os
import time
from pathlib import Path

from appstack_redis.ask import ask_members, ask_sentinels
from appstack_redis.decide import Member, named_master
from appstack_redis.settings import REDIS_PORT, SENTINEL_PORT, Group, Settings

log = logging.getLogger("sentinel")

# Sentinel's library never takes the refusal of an empty Service, and is woken for it all the time: this takes it.
PRELOADED = "/usr/local/lib/appstack/take_refusals.so"


def serving_master(members: list[Member]) -> str | None:
    """The pod that serves as master; of several the one with the newest data."""
    masters = [member for member in members if member.serves == "master"]
    return max(masters, key=lambda member: member.freshness).pod if masters else None


def find_master(settings: Settings) -> tuple[Group, str]:
    """Wait until somebody is master: other Sentinels know, or a Redis serves as one. Returns its address."""
    said = False
    while True:
        group = settings.group()
        if settings.pod in group.sentinels:
            address = named_master(ask_sentinels(group, settings.password))
            if address and group.pod_at(address):
                return group, address
            pod = serving_master(list(ask_members(group).values()))
            if pod:
                return group, group.redis[pod]
        if not said:
            log.info("waiting for a master")
            said = True
        time.sleep(0.5)


def identity(group: Group, pod: str) -> str:
    """The same run id after every restart: a new one would leave a ghost that counts as a voter."""
    return hashlib.sha1(f"{group.master_name}/{pod}".encode(), usedforsecurity=False).hexdigest()


def configuration(base: str, group: Group, pod: str, password: str, master: str) -> str:
    """sentinel.conf of a Sentinel that starts to watch the master at this address."""
    name, secret = group.master_name, json.dumps(password)
    lines = [
        f"sentinel myid {identity(group, pod)}",
        f"requirepass {secret}",
        f"sentinel sentinel-pass {secret}",
        f"sentinel announce-ip {group.sentinels[pod]}",
        f"sentinel announce-port {SENTINEL_PORT}",
        f"sentinel monitor {name} {master} {REDIS_PORT} {group.quorum}",
        f"sentinel auth-pass {name} {secret}",
    ]
    # What is said about a master must come after the line that names it.
    of_master = [line for line in base.splitlines() if name in line.split()]
    general = [line for line in base.splitlines() if name not in line.split()]
    return "\n".join([*general, *lines, *of_master]) + "\n"


def with_members(text: str, group: Group) -> str:
    """The same sentinel.conf with every member of the group in it.

    Sentinel learns of replicas only from a master that answers: one that never met it could promote nobody.
    """
    lines = text.splitlines()
    words = [line.split() for line in lines]
    known = {each[3] for each in words if each[:2] in (["sentinel", "monitor"], ["sentinel", "known-replica"])}
    missing = [address for address in group.redis.values() if address not in known]
    lines += [f"sentinel known-replica {group.master_name} {address} {REDIS_PORT}" for address in missing]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file of which nobody ever finds a part: a Sentinel would start with it, without password and master."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def first_configuration(settings: Settings) -> str:
    """What a Sentinel without a past starts with, as soon as there is a master."""
    group, master = find_master(settings)
    log.info("watching %s at %s", group.master_name, master)
    return configuration(
        (settings.config_dir / "sentinel.conf").read_text(), group, settings.pod, settings.password, master
    )


def run(settings: Settings) -> int:
    """The command `sentinel`: replaces itself with redis-sentinel."""
    path = settings.data_dir / "sentinel.conf"
    # A restarted container goes on with what it knew: its votes among it.
    kept = path.read_text() if path.exists() else ""
    text = with_members(kept or first_configuration(settings), settings.group())
    if text != kept:
        write(path, text)
    os.execvpe("redis-sentinel", ["redis-sentinel", str(path)], os.environ | {"LD_PRELOAD": PRELOADED})  # noqa: S606

"""Carries an edited Secret out in the running service: PostgreSQL's roles and RabbitMQ's user get the new password.

Safe to kill and to repeat: the record of what is in force is written afterwards, and setting a password again
changes nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from urllib.parse import quote

import aiohttp
import psycopg
from psycopg import sql

from appstack_operator.api import AppStack
from appstack_operator.desired.context import Credentials
from appstack_operator.desired.credentials import usable_edits
from appstack_operator.observed import Observed
from appstack_operator.services.rabbitmq import MANAGEMENT_PORT, USERNAME, basic

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 4.5  # as long as a write may take that began while the Lease was ours: see lease.py
ROLES = {"postgres_app": "app", "postgres_replication": "replicator", "postgres_superuser": "postgres"}
FAILURES = (psycopg.Error, aiohttp.ClientError, OSError, TimeoutError, LookupError)


async def rotate_passwords(
    stack: AppStack,
    seen: Observed,
    in_force: Credentials,
    waiting: Container[str] = (),
    may_write: Callable[[], bool] = lambda: True,
) -> Credentials:
    """What is in force after every edit that could be carried out; the others, and those that wait, are told."""
    edited = usable_edits(stack, seen, in_force)
    superusers = [in_force.postgres_superuser, edited.get("postgres_superuser", in_force.postgres_superuser)]
    for field, password in edited.items():
        if field in waiting or not may_write():
            continue
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                if field in ROLES:
                    await set_role_password(primary_of(seen), superusers, ROLES[field], password)
                elif field == "rabbitmq":
                    await set_user_password(seen, in_force.rabbitmq, password)
                elif field != "api_token":  # the token is whatever the Secret says
                    continue
        except FAILURES as error:
            logger.warning("the edited password %s could not be set: %s", field, type(error).__name__)
            continue
        logger.info("the edited password %s is in force", field)
        in_force = replace(in_force, **{field: password})
    return in_force


def primary_of(seen: Observed) -> str:
    """The address of the primary."""
    if seen.postgres.primary is None:
        raise LookupError("no primary")
    return address_of(seen, seen.postgres.primary.pod)


def address_of(seen: Observed, pod: str) -> str:
    """The address of a pod; LookupError if it has none."""
    found = seen.get("Pod", pod) or {}
    return str(found["status"]["podIP"])


async def set_role_password(host: str, superusers: Sequence[str], role: str, password: str, port: int = 5432) -> None:
    """ALTER ROLE, with a verifier in place of the password: statements end up in logs."""
    for number, superuser in enumerate(superusers, 1):
        try:
            connection = await psycopg.AsyncConnection.connect(
                host=host, port=port, user="postgres", password=superuser, dbname="postgres", autocommit=True
            )
        except psycopg.OperationalError:
            if number == len(superusers):
                raise
            continue
        async with connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(verifier.decode())
            )
            await connection.execute(statement)
        return


async def set_user_password(seen: Observed, former: str, password: str) -> None:
    """The user of the broker, through the first node that takes it; one that has it already is fine."""
    error: Exception = LookupError("no RabbitMQ pod has an address")
    for pod in seen.pods("rabbitmq"):
        address = pod.get("status", {}).get("podIP")
        url = f"http://{address}:{MANAGEMENT_PORT}/api/users/{quote(USERNAME)}"
        for known in (former, password) if address else ():
            try:
                async with aiohttp.ClientSession(headers=basic(USERNAME, known)) as session:
                    user = {"password": password, "tags": "administrator"}
                    async with session.put(url, json=user, raise_for_status=True):
                        return
            except (aiohttp.ClientError, OSError) as failure:
                error = failure
    raise error

"""Asks services of somebody else, at the addresses in Secrets, whether they can be used. Silence is an answer.

Errors name address and cause, never a password.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import aiormq
import psycopg
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionClosed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError as RedisRefusal
from redis.exceptions import NoPermissionError, RedisError

from appstack_operator.observed import ExternalAnswer

TIMEOUT_SECONDS = 3.0
Secret = Mapping[str, str]
REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")
# Files that only the pods have; the operator checks the password, not the certificate.
FILES_OF_THE_PODS = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
FILES_OF_AMQP = {"cafile", "capath", "cadata", "certfile", "keyfile"}
# Of the options in a Redis URL, which are those of the pods' client: the others may name its files, or be unknown here.
OPTIONS_OF_REDIS = {"db", "username", "password", "ssl_cert_reqs", "ssl_check_hostname"}


async def ask_external(secrets: Mapping[str, Secret | None]) -> dict[str, ExternalAnswer]:
    """Component -> what its service answers, for those whose Secret is there."""
    known = {component: secret for component, secret in secrets.items() if secret is not None}
    answers = await asyncio.gather(*(ASK[component](secret) for component, secret in known.items()))
    return dict(zip(known, answers, strict=True))


async def ask_postgres(secret: Secret) -> ExternalAnswer:
    """Whether the database takes writes, and whether the one for reads answers."""
    writes, reads = await asyncio.gather(
        answer_of("DATABASE_URL", secret, ask_database),
        answer_of("DATABASE_READONLY_URL", secret, ask_replica),
    )
    return writes if writes.error else ExternalAnswer(reads_error=reads.error)


async def ask_redis(secret: Secret) -> ExternalAnswer:
    """Whether a master is found through the Sentinels, where they are named, and at the URL, where one is given."""
    if secret.get("REDIS_SENTINELS"):
        by_sentinel = await answer_of("REDIS_SENTINELS", secret, lambda _: ask_sentinels(secret))
        if by_sentinel.error:
            return by_sentinel
    return await answer_of("REDIS_URL", secret, ask_redis_url)


async def ask_rabbitmq(secret: Secret) -> ExternalAnswer:
    """Whether the broker lets the user into the virtual host."""
    return await answer_of("RABBITMQ_URL", secret, ask_broker)


ASK: Mapping[str, Callable[[Secret], Awaitable[ExternalAnswer]]] = {
    "postgres": ask_postgres,
    "redis": ask_redis,
    "rabbitmq": ask_rabbitmq,
}


class RefusedError(Exception):
    """The service answers, and does not let this user in."""


class UselessError(Exception):
    """The service answers, and is not what is needed (a replica where writes must go)."""


FAILURES = (psycopg.Error, RedisError, AMQPError, OSError, TimeoutError, ValueError, KeyError, UselessError)


async def answer_of(key: str, secret: Secret, ask: Callable[[str], Awaitable[None]]) -> ExternalAnswer:
    """Ask with a key of the Secret; what is not given is not asked."""
    url = secret.get(key, "")
    if not url:
        return ExternalAnswer()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await ask(url)
    except RefusedError as error:
        return ExternalAnswer(error=without_passwords(f"{key}: {error}", secret), is_refused=True)
    except FAILURES as error:
        if is_untrusted(error):
            return ExternalAnswer()  # it answers; whether the pods trust it, their own certificates say
        said = str(error).strip().splitlines()[-1:] or [f"no answer within {TIMEOUT_SECONDS:.0f} s"]
        return ExternalAnswer(error=without_passwords(f"{key} ({place(url)}): {said[0]}", secret))
    return ExternalAnswer()


def is_untrusted(error: BaseException | None) -> bool:
    """Whether a certificate was not accepted here (signed by nobody known, say); clients wrap that in their errors."""
    passed: list[BaseException] = []  # aiormq's errors may lead round in a circle
    while error and error not in passed:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        passed.append(error)
        error = error.__cause__ or error.__context__
    return False


def place(url: str) -> str:
    """Where an URL leads to, without user and password."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] if "://" in url else url
    except ValueError:
        return "no address"


def with_options(url: str, is_kept: Callable[[str], bool]) -> str:
    """The URL with those of its options that are to be kept."""
    parts = urlsplit(url)
    if not parts.query:
        return url
    kept = [(key, value) for key, value in parse_qsl(parts.query) if is_kept(key)]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def without_passwords(text: str, secret: Secret) -> str:
    """The text without anything that the Secret hides."""
    hidden = {secret.get("REDIS_PASSWORD", "")}
    for value in secret.values():
        with suppress(ValueError):
            password = urlsplit(value).password or ""
            hidden |= {value if "://" in value else "", password, unquote(password)}
    for each in sorted(hidden - {""}, key=len, reverse=True):
        text = text.replace(each, "***")
    return text


def settings_of_the_probe(url: str) -> str:
    """A connection string that works without the pods' files."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        raise ValueError("is no connection string") from None
    if str(parts.get("sslmode", "")).startswith("verify-"):
        parts["sslmode"] = "require"
    kept = {key: value for key, value in parts.items() if key not in FILES_OF_THE_PODS}
    return make_conninfo(**{**kept, "connect_timeout": 2, "application_name": "appstack-operator"})  # type: ignore[arg-type]


async def connect_database(url: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
    """A connection; RefusedError where the database answers and lets nobody in."""
    try:
        return await psycopg.AsyncConnection.connect(settings_of_the_probe(url), autocommit=True)
    except psycopg.OperationalError as error:
        # A refused connection has no SQLSTATE: libpq only tells it in words.
        said = last_said(error)
        if any(words in said for words in REFUSALS):
            raise RefusedError(said) from error
        raise


def last_said(error: psycopg.OperationalError) -> str:
    """What the server that was tried last said, on one line: names of databases and users may hold line breaks."""
    text = str(error).strip()
    return " ".join(text[max(text.rfind("connection to server"), 0) :].splitlines())


async def ask_replica(url: str) -> None:
    """A database that answers reads: any will do."""
    async with await connect_database(url) as connection:
        await connection.execute("SELECT 1")


async def ask_database(url: str) -> None:
    """A database that takes writes."""
    async with await connect_database(url) as connection:
        row = await (await connection.execute("SELECT pg_is_in_recovery()")).fetchone()
    if row and row[0]:
        raise UselessError("it is a replica and takes no writes")


async def ask_redis_url(url: str) -> None:
    """A Redis that is a master; one that hides its role is taken at its word."""
    retry, url = Retry(NoBackoff(), 0), with_options(url, OPTIONS_OF_REDIS.__contains__)
    async with Redis.from_url(url, retry=retry, socket_connect_timeout=TIMEOUT_SECONDS, protocol=2) as client:
        await ask_master(client)


async def ask_master(client: Redis) -> None:
    """Its answer to PING and ROLE."""
    try:
        await client.execute_command("PING")  # type: ignore[no-untyped-call]
        role = await client.execute_command("ROLE")  # type: ignore[no-untyped-call]
    except NoPermissionError:
        return
    except RedisRefusal as error:
        raise RefusedError(str(error)) from error
    if role and role[0] in ("slave", b"slave"):
        raise UselessError("it is a replica and takes no writes")


async def ask_sentinels(secret: Secret) -> None:
    """The first Sentinel that answers names a master that answers."""
    name, password = secret.get("REDIS_SENTINEL_MASTER", ""), secret.get("REDIS_PASSWORD") or None
    errors: list[Exception] = []
    for address in secret["REDIS_SENTINELS"].split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            async with connect(host, int(port), password) as sentinel:
                found = await sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", name)  # type: ignore[no-untyped-call]
        except RedisRefusal as error:
            raise RefusedError(f"Sentinel {address}: {error}") from error
        except (RedisError, OSError) as error:
            errors.append(error)
            continue
        if not found:
            raise UselessError(f"Sentinel {address} knows no master {name}")
        async with connect(found[0], int(found[1]), password) as master:
            await ask_master(master)
        return
    raise errors[-1]


def connect(host: str, port: int, password: str | None) -> Redis:
    """A client without retries: the next look asks again."""
    limit = TIMEOUT_SECONDS / 3
    return Redis(
        host=host,
        port=port,
        password=password,
        socket_timeout=limit,
        socket_connect_timeout=limit,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # also spoken by old servers
        decode_responses=True,
    )


async def ask_broker(url: str) -> None:
    """A broker that opens the virtual host for this user."""
    try:
        connection = await aiormq.connect(with_options(url, lambda key: key not in FILES_OF_AMQP))
    except (AuthenticationError, ProbableAuthenticationError) as error:
        raise RefusedError(str(error)) from error
    except (ConnectionClosed, InvalidFrameError) as error:
        # aiormq does not pass on the words of a broker that closes instead of opening the virtual host.
        vhost = unquote(urlsplit(url).path[1:]) or "/"
        raise RefusedError(f"the broker does not open the virtual host {vhost} to this user") from error
    with suppress(*FAILURES):
        await connection.close()

"""An edited Secret becomes the password of a real PostgreSQL role."""

from __future__ import annotations

from urllib.parse import urlsplit

import psycopg
import pytest

from appstack_operator.services.passwords import set_role_password


def connect(dsn: str, user: str, password: str) -> None:
    parts = urlsplit(dsn)
    psycopg.connect(host=parts.hostname, port=parts.port, user=user, password=password, dbname="postgres").close()


async def test_a_role_gets_its_new_password_also_after_a_half_done_rotation(postgres: str) -> None:
    parts = urlsplit(postgres)
    assert parts.hostname
    with psycopg.connect(postgres, autocommit=True) as connection:
        for name in ("postgres", "other"):
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'first' {'SUPERUSER' * (name == 'postgres')}")
    try:
        await set_role_password(parts.hostname, ["first"], "other", "se'cond", port=parts.port or 0)
        connect(postgres, "other", "se'cond")
        with pytest.raises(psycopg.OperationalError):
            connect(postgres, "other", "first")
        # The superuser's own: the operator was killed after ALTER ROLE and before it wrote the record.
        await set_role_password(parts.hostname, ["first", "third"], "postgres", "third", port=parts.port or 0)
        await set_role_password(parts.hostname, ["first", "third"], "postgres", "third", port=parts.port or 0)
        connect(postgres, "postgres", "third")
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            for name in ("postgres", "other"):
                connection.execute(f"DROP ROLE {name}")

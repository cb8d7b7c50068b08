#!/usr/bin/python3
"""Patroni's post_init: the role and the database of the backend, once, right after initdb."""

import os
import sys

import psycopg2  # type: ignore[import-untyped]
from psycopg2 import sql


def main() -> None:
    """Create them over the connection string that Patroni gives."""
    role, password, database = (os.environ[name] for name in ("APP_USERNAME", "APP_PASSWORD", "APP_DATABASE"))
    connection = psycopg2.connect(sys.argv[1])
    connection.autocommit = True  # CREATE DATABASE wants no transaction
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(role)))
    connection.close()


if __name__ == "__main__":
    main()

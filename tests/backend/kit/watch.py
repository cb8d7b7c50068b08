"""Cursors that ask PostgreSQL how it carries out what they execute, and what its plans tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from psycopg import sql

from appstack_backend import database

if TYPE_CHECKING:
    from collections.abc import Iterator

# Small by nature; a scan of them is no flaw.
SMALL = {
    "outbox",
    "webhook_targets",
    "schema_versions",
    "names",
    "catalogue_counts",
    "batch",
    "gone",
    "due",
    "feed_rows",
}
PREPARED = "SELECT name FROM pg_prepared_statements WHERE statement = %s"
EXPLAINED = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
Plan = dict[str, Any]


class Watch:
    """The statements since the last look, each with its plan."""

    statements: ClassVar[list[tuple[str, Plan]]] = []


class ExplainingCursor(psycopg.AsyncCursor[Any]):
    """Asks for the plan of each statement first."""

    OPTIONS: ClassVar[str] = "FORMAT JSON"

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        text = query if isinstance(query, str) else query.decode() if isinstance(query, bytes) else query.as_string()
        is_pools_own = text == database.TIMELINE  # once a connection, for whatever operation comes first
        if not is_pools_own and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text, re.IGNORECASE):
            await super().execute(f"EXPLAIN ({self.OPTIONS}) {text}".encode(), params)
            row: Any = await super().fetchone()
            plan = next(iter(row.values())) if isinstance(row, dict) else row[0]
            Watch.statements.append((text, plan[0]["Plan"]))
        return await super().execute(query, params, **options)


class MeasuringCursor(ExplainingCursor):
    """Asks for what each statement really reads; it is executed twice, so it must change nothing."""

    OPTIONS = "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON"


class WornCursor(MeasuringCursor):
    """Measures each statement as it is executed on a connection on which it was executed often.

    After some uses psycopg prepares it there; after some more PostgreSQL may plan it for any values.
    """

    USES: ClassVar[int] = 12

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        if not EXPLAINED.match(text) or text == database.TIMELINE:
            return await psycopg.AsyncCursor.execute(self, query, params, **options)
        for _ in range(self.USES):
            await psycopg.AsyncCursor.execute(self, query, params, **options)
        numbered, names = with_numbers(text)
        await psycopg.AsyncCursor.execute(self, PREPARED, (numbered,))
        prepared: Any = await self.fetchone()
        if prepared is None:
            return await super().execute(query, params, **options)
        values = sql.SQL(", ").join(params[name] for name in names)
        arguments = sql.SQL("({})").format(values) if names else sql.SQL("")
        explained = sql.SQL("EXPLAIN ({}) EXECUTE {} {}").format(
            sql.SQL(self.OPTIONS), sql.Identifier(prepared["name"]), arguments
        )
        await psycopg.AsyncCursor.execute(self, explained)
        plan: Any = await self.fetchone()
        Watch.statements.append((text, plan["QUERY PLAN"][0]["Plan"]))
        return await psycopg.AsyncCursor.execute(self, query, params, **options)


def with_numbers(text: str) -> tuple[str, list[str]]:
    """The statement as PostgreSQL gets it, and the names of its parameters in their order."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", text)))
    return re.sub(r"%\((\w+)\)s", lambda name: f"${names.index(name[1]) + 1}", text).replace("%%", "%"), names


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def scans(plan: Plan) -> set[str]:
    """The tables that are read from one end to the other."""
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"} - SMALL


def indexes(plan: Plan) -> set[str]:
    """Those that are used; small tables may be read either way."""
    return {n["Index Name"] for n in nodes(plan) if "Index Name" in n and n.get("Relation Name") not in SMALL}


def rows_read(plan: Plan, *tables: str) -> int:
    """Those that were fetched from some tables (or all big ones), whether or not a filter then threw them away."""
    lost = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
    fetching = [n for n in nodes(plan) if "Relation Name" in n and n["Node Type"] != "Index Only Scan"]
    scanned = [n for n in fetching if n["Relation Name"] in tables or (not tables and n["Relation Name"] not in SMALL)]
    return sum((n["Actual Rows"] + sum(n.get(key, 0) for key in lost)) * n["Actual Loops"] for n in scanned)


def taken() -> list[tuple[str, Plan]]:
    statements, Watch.statements = Watch.statements, []
    return statements

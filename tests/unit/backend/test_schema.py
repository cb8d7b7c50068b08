"""Migrations as files: their order, and how they are cut into statements."""

from __future__ import annotations

from appstack_backend.schema import Migration, load_migrations, missing_versions


def test_versions_are_numbered_without_gaps() -> None:
    migrations = load_migrations()
    assert [migration.version for migration in migrations] == list(range(1, len(migrations) + 1))


def test_a_newer_schema_is_good_enough() -> None:
    migrations = load_migrations()
    known = {migration.version for migration in migrations}
    assert missing_versions(known | {999}, migrations) == []
    assert missing_versions(known - {2}, migrations) == [2]


def test_a_file_without_transaction_is_cut_at_the_ends_of_its_statements() -> None:
    migration = Migration(1, "0001_x", "-- without transaction\n-- why\nDROP INDEX a;\nCREATE INDEX a\n  ON t (x);\n")
    assert not migration.in_transaction
    assert migration.statements() == ["DROP INDEX a", "CREATE INDEX a\n  ON t (x);"]

"""The image of the backend: it runs as its numeric user, and is what this tree holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appstack_backend import schema
from appstack_backend.errors import catalogue_page
from tests.backend.kit.rootfs import Box, rootfs

if TYPE_CHECKING:
    from pathlib import Path

USER = 10001
COMMAND = "/opt/appstack/bin/appstack-backend"


def test_the_image_runs_the_code_of_this_tree(tmp_path: Path, empty_dsn: str) -> None:
    box = Box("backend", USER, tmp_path)
    assert box.run(COMMAND, "errors") == catalogue_page()
    told = box.run("env", f"DATABASE_URL={empty_dsn}", COMMAND, "migrate")
    for migration in schema.load_migrations():
        assert migration.name in told


def test_nothing_in_the_image_belongs_to_its_user() -> None:
    """So the root file system may be read-only, and a flaw of ours cannot rewrite the program."""
    owned = [path for path in (rootfs("backend") / "opt").rglob("*") if path.lstat().st_uid != 0]
    assert owned == []

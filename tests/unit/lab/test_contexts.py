"""A build context's hash changes with what goes into the image, and with nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from appstack_lab.contexts import copy_context, files_of, hash_of, is_ignored, parse_dockerignore, read_version

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "src" / "app.py").write_text("print()\n")
    return tmp_path


def test_the_same_sources_have_the_same_hash_wherever_they_lie(
    context: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    copy = tmp_path_factory.mktemp("copy") / "context"
    copy_context(context, copy)
    assert hash_of(copy) == hash_of(context)


def test_a_changed_file_changes_the_hash(context: Path) -> None:
    before = hash_of(context)
    (context / "src" / "app.py").write_text("print(1)\n")
    assert hash_of(context) != before


def test_a_file_made_executable_changes_the_hash(context: Path) -> None:
    before = hash_of(context)
    (context / "src" / "app.py").chmod(0o755)
    assert hash_of(context) != before


@pytest.mark.parametrize(
    "litter", ["src/__pycache__/app.cpython-313.pyc", "x.egg-info/PKG-INFO", ".mypy_cache/3.11/a.json"]
)
def test_what_tools_leave_behind_does_not_count(context: Path, litter: str) -> None:
    before = hash_of(context)
    path = context / litter
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("litter")
    assert hash_of(context) == before


def test_an_ignored_file_is_neither_hashed_nor_copied(context: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (context / ".dockerignore").write_text("notes\n")
    before = hash_of(context)
    (context / "notes").mkdir()
    (context / "notes" / "a.txt").write_text("a")
    copy = tmp_path_factory.mktemp("copy") / "context"
    copy_context(context, copy)
    assert hash_of(context) == before
    assert not (copy / "notes").exists()


def test_an_ignored_dockerfile_is_still_there_to_build_from(context: Path) -> None:
    (context / ".dockerignore").write_text("*\n!src\n")
    assert files_of(context) == ["Dockerfile", "src/app.py"]


@pytest.mark.parametrize(
    ("pattern", "path", "ignored"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("**/*.md", "docs/deep/README.md", True),
        ("**/*.md", "README.md", True),
        ("docs", "docs/README.md", True),
        ("docs/", "docs/README.md", True),
        ("/docs", "docs/README.md", True),
        ("docs", "src/docs.py", False),
        ("a?c", "abc", True),
        ("a.c", "abc", False),
        ("a?c", "a/c", False),
        ("a[^x-z]c", "abc", True),
        ("a[^x-z]c", "ayc", False),
        ("[[]a", "[a", True),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        ("docs/**", "docs/deep/README.md", True),
        ("docs/**", "docs", False),
        ("docs/**/a.md", "docs/a.md", True),
        ("**", "a/b", True),
        ("**.md", "docs/README.md", True),
    ],
)
def test_patterns_mean_what_docker_means(pattern: str, path: str, ignored: bool) -> None:
    assert is_ignored(path, parse_dockerignore(pattern)) is ignored


def test_the_last_matching_line_decides() -> None:
    rules = parse_dockerignore("# all but one\n*\n!keep.txt\n")
    assert not is_ignored("keep.txt", rules)
    assert is_ignored("drop.txt", rules)


@pytest.mark.parametrize(
    ("dockerfile", "version"),
    [
        ('LABEL org.opencontainers.image.version="8.0"', "8.0"),
        ('ARG REDIS=8.0\nLABEL a="b" \\\n  org.opencontainers.image.version="${REDIS}" \\\n  c="d"', "8.0"),
        ("FROM scratch", ""),
    ],
)
def test_the_version_is_read_from_the_label(dockerfile: str, version: str) -> None:
    assert read_version(dockerfile) == version

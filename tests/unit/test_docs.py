"""What the pages name is there: links, files, targets of make, commands of lab; every library has its reason."""

from __future__ import annotations

import argparse
import ast
import os
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from appstack_lab.main import build_parser

ROOT = Path(__file__).resolve().parents[2]


def files_of_the_tree(ending: str) -> list[Path]:
    """Our own texts: no environment, no cache, no result of a build."""
    found: list[Path] = []
    for folder, below, names in os.walk(ROOT):
        here = Path(folder)
        below[:] = [name for name in below if not (name.startswith(".") or (here / name / "pyvenv.cfg").exists())]
        if here == ROOT:
            below[:] = [name for name in below if name != "build"]
        found += [here / name for name in names if name.endswith(ending)]
    return sorted(found)


PAGES = [page for page in files_of_the_tree(".md") if page.parent.name != "changelog.d"]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def code_of(page: Path) -> list[str]:
    """What stands in code: each span, and each line of a block."""
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [*spans, *(line for block in blocks for line in block.splitlines())]


def anchor_of(heading: str) -> str:
    """The name under which a heading can be linked to."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def links_of(page: Path) -> list[str]:
    """The links to other pages and headings of this tree; code may hold what looks like one."""
    prose = re.sub(r"`[^`\n]+`", "", page.read_text())
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            dead.append(link)
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            if anchor not in map(anchor_of, headings):
                dead.append(link)
    assert dead == []


@every_page
def test_every_target_of_make_exists(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [word for code in code_of(page) for word in re.findall(r"(?:^|[(\s])make (?:-s )?([a-z-]+)", code)]
    assert [word for word in named if word not in targets and not word.startswith("bench-")] == []


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser by name; none where it has none."""
    groups = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return next((dict(group.choices) for group in groups), {})


@every_page
def test_every_command_of_lab_exists(page: Path) -> None:
    unknown = []
    for words in (code.split() for code in code_of(page) if re.match(r"(\.venv/bin/)?lab [a-z]", code)):
        commands = subcommands(build_parser())
        for word in (word.partition("|")[0] for word in words[1:]):
            if commands and word not in commands:
                unknown.append(" ".join(words))
            if not commands or word not in commands:
                break
            commands = subcommands(commands[word])
    assert unknown == []


@every_page
def test_every_named_file_of_the_tree_exists(page: Path) -> None:
    folders = "tests|lab|docs|bench|images|operator|backend|charts|examples|crds"
    named = [code for code in code_of(page) if re.fullmatch(rf"(?:{folders})/[\w./-]+", code)]
    real = [name for name in named if not any(part.isupper() for part in name.split("/"))]  # NAME stands for any
    assert [name for name in real if not (ROOT / name).exists()] == []


def dependencies() -> set[str]:
    """Every library that a project of this tree names itself."""
    found = []
    for folder in ("operator", "backend", "lab", "."):
        project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())
        described, groups = project.get("project", {}), project.get("dependency-groups", {})
        found += described.get("dependencies", []) + project.get("build-system", {}).get("requires", [])
        for lists in (described.get("optional-dependencies", {}), groups):
            found += [line for lines in lists.values() for line in lines]
    return {Requirement(line).name for line in found}


def test_every_dependency_has_its_reason() -> None:
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    listed = {re.sub(r"[-_.]+", "-", word).lower() for row in rows for word in re.findall(r"[\w.-]+", row)}
    assert [name for name in sorted(dependencies()) if re.sub(r"[-_.]+", "-", name).lower() not in listed] == []


def test_every_module_says_what_it_is_for() -> None:
    """In the first sentence; what only marks a folder is empty."""
    silent = []
    for path in files_of_the_tree(".py"):
        text = path.read_text()
        said = ast.get_docstring(ast.parse(text)) if text.strip() else "Nothing."
        if not said or said.split("\n\n")[0].rstrip()[-1] not in ".?:":
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []

"""Build contexts: which files belong to one, their hash, and a copy that is exactly what was hashed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

HASH_DIGITS = 12
# Never part of an image, whatever a .dockerignore says: left by tools, different on every machine.
LITTER = {
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "__pycache__",
}
LITTER_ENDINGS = (".egg-info", ".pyc")
# The words of a .dockerignore's pattern; a backslash takes the next character as it is.
TOKEN = re.compile(r"\*\*/?|\[\^?(?:\\.|[^]\\])+\]|\\.|.")
WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def parse_dockerignore(text: str) -> list[tuple[bool, re.Pattern[str]]]:
    """Read a .dockerignore into (is an exception, pattern), in order: the last match decides."""
    rules = []
    for line in text.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        is_exception = pattern.startswith("!")
        pattern = pattern.lstrip("!").strip("/")
        rules.append((is_exception, re.compile(pattern_to_regex(pattern))))
    return rules


def pattern_to_regex(pattern: str) -> str:
    """Translate a pattern: * and ? stay within a directory, ** crosses them, a match takes all below it."""
    return "".join(token_to_regex(token[0]) for token in TOKEN.finditer(pattern)) + "(?:/.*)?"


def token_to_regex(token: str) -> str:
    """Translate one word of a pattern, as Docker's own patternmatcher does."""
    if token in WILDCARDS:
        return WILDCARDS[token]
    if token.startswith("[") and len(token) > 1:
        return "[" + token[1:].replace("[", r"\[")
    return re.escape(token.removeprefix("\\") or token)


def is_ignored(path: str, rules: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """Tell whether a file (relative, with /) stays out of the context."""
    parts = path.split("/")
    if any(part in LITTER or part.endswith(LITTER_ENDINGS) for part in parts):
        return True
    ignored = False
    for is_exception, pattern in rules:
        if pattern.fullmatch(path):
            ignored = not is_exception
    return ignored


def files_of(context: Path) -> list[str]:
    """List the files of a context, relative and sorted."""
    ignore = context / ".dockerignore"
    rules = parse_dockerignore(ignore.read_text()) if ignore.exists() else []
    found = []
    for directory, subdirectories, names in os.walk(context):
        subdirectories[:] = [name for name in subdirectories if name not in LITTER]
        for name in names:
            path = (Path(directory) / name).relative_to(context).as_posix()
            if path == "Dockerfile" or not is_ignored(path, rules):
                found.append(path)
    return sorted(found)


def hash_of(context: Path) -> str:
    """Hash names, modes and contents of a context."""
    digest = hashlib.sha256()
    for name in files_of(context):
        path = context / name
        executable = bool(path.stat().st_mode & 0o100)
        content = bytes(path.readlink()) if path.is_symlink() else path.read_bytes()
        digest.update(f"{name}\0{executable:d}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:HASH_DIGITS]


def copy_context(context: Path, target: Path) -> None:
    """Copy the files of a context, so that what is built is what was hashed."""
    shutil.rmtree(target, ignore_errors=True)
    for name in files_of(context):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(context / name, copy, follow_symlinks=False)


def read_version(dockerfile: str) -> str:
    """Read the label org.opencontainers.image.version, with the defaults of ARGs filled in."""
    label = re.search(r'org\.opencontainers\.image\.version="?([^"\s\\]+)', dockerfile)
    if not label:
        return ""
    version = label[1]
    for name, default in re.findall(r"^ARG\s+(\w+)=(\S+)", dockerfile, re.MULTILINE):
        version = version.replace(f"${{{name}}}", default).replace(f"${name}", default)
    return version.strip("\"'")

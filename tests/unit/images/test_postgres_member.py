"""A member's first process keeps its agent running."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import member
import pytest


def test_an_agent_that_could_not_be_started_is_started_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, started = tmp_path / "agent", tmp_path / "started"

    def later(seconds: float) -> None:
        if started.exists():
            raise KeyboardInterrupt
        agent.write_text(f"#!/bin/sh\necho > {started}\n")
        agent.chmod(0o755)

    monkeypatch.setattr(time, "sleep", later)
    with pytest.raises(KeyboardInterrupt):
        member.keep_running([str(agent)])
    assert started.exists()
    assert "agent" not in dead_children()


def dead_children() -> list[str]:
    """The names of children of this process that have ended and that nobody has waited for."""
    told = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended just now, and somebody has waited for it
            told.append(entry.read_text())
    fields = [(text.partition("(")[2].rpartition(")")[0], *text.rpartition(")")[2].split()[:2]) for text in told]
    return [name for name, state, parent in fields if state == "Z" and parent == str(os.getpid())]

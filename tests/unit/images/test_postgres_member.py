"""A member's first process keeps its agent running."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import member
import pytest

if TYPE_CHECKING:
    from pathlib import Path


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
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)

"""Removing what a cluster leaves on the disk, while others still write and remove there."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from appstack_lab.teardown import remove_tree

if TYPE_CHECKING:
    from pathlib import Path


def fill(directory: Path, files: int) -> None:
    directory.mkdir(parents=True)
    for number in range(files):
        (directory / str(number)).touch()


def test_files_that_vanish_meanwhile_do_not_stop_the_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "node" / "logs", 3)
    unlink = os.unlink

    def vanished(path: str, **more: int) -> None:
        unlink(path, **more)
        monkeypatch.setattr(os, "unlink", unlink)
        unlink(path, **more)  # as if somebody had been quicker

    monkeypatch.setattr(os, "unlink", vanished)
    remove_tree(tmp_path / "node")
    assert not (tmp_path / "node").exists()


def test_a_writer_that_ends_while_we_remove_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "node" / "logs", 2000)
    started = threading.Event()

    def write() -> None:
        for number in range(300):
            started.set()
            try:
                (tmp_path / "node" / "logs" / f"late-{number}").touch()
            except FileNotFoundError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    started.wait()
    remove_tree(tmp_path / "node")
    writer.join()
    assert not (tmp_path / "node").exists()


def test_a_directory_that_cannot_be_removed_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        remove_tree(tmp_path / "file")

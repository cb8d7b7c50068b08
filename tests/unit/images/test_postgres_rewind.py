"""Whether a directory was half rewound, by a note beside it and by what is younger."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
import rewind

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "pgdata"
    for folder in ("global", "base", "pg_wal"):
        (made / folder).mkdir(parents=True)
    (made / "global" / "pg_control").touch()
    return made


def at(path: Path, second: int) -> None:
    path.touch()
    os.utime(path, (second, second))


@pytest.mark.parametrize(
    ("note", "control", "half"), [(20, 10, True), (20, 20, True), (20, 30, False), (20, None, True)]
)
def test_what_is_younger_than_the_note_is_no_half_rewound_directory(
    data: Path, note: int, control: int | None, half: bool
) -> None:
    at(rewind.note_beside(data), note)
    file = data / "global" / "pg_control"
    at(data / "base" / "1", 25)  # pg_rewind has written
    if control is None:  # killed while the directory was being removed
        file.unlink()
    else:
        at(file, control)
    assert rewind.is_half_rewound(data) is half
    assert rewind.discard_half_rewound(data) is half
    assert data.exists() is not half
    assert not rewind.note_beside(data).exists()


@pytest.mark.parametrize(
    ("name", "second", "half"), [("base/1", 10, False), ("base/1", 25, True), ("PG_VERSION", 25, True)]
)
def test_a_rewind_that_had_only_read_when_it_was_killed_costs_no_copy(
    data: Path, name: str, second: int, half: bool
) -> None:
    at(rewind.note_beside(data), 20)
    at(data / name, second)
    for path in ("global/pg_control", "global", "base", "pg_wal"):
        at(data / path, 10)
    assert rewind.discard_half_rewound(data) is half
    assert data.exists() is not half
    assert not rewind.note_beside(data).exists()


def test_a_removal_that_is_killed_leaves_a_directory_that_counts_as_half_rewound(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(rewind.note_beside(data), 20)
    for path in ("base/1", "global/pg_control", "global", "base", "pg_wal"):
        at(data / path, 25 if path == "base/1" else 10)

    def killed(folder: Path) -> None:
        (folder / "base" / "1").unlink()
        (folder / "base").rmdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, "rmtree", killed)
        rewind.discard_half_rewound(data)
    at(data / "global", 10)
    assert rewind.discard_half_rewound(data)
    assert not data.exists()


def test_a_directory_without_a_note_is_never_removed(data: Path) -> None:
    assert not rewind.discard_half_rewound(data)
    assert data.exists()


@pytest.mark.parametrize("code", [0, 1])
def test_the_note_lies_there_while_pg_rewind_runs_and_goes_however_it_ends(
    data: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    tool = data.parent / "pg_rewind"
    tool.write_text(f'#!/bin/sh\n[ -e "{rewind.note_beside(data)}" ] || exit 9\nexit {code}\n')
    tool.chmod(0o755)
    monkeypatch.setattr(rewind, "PG_REWIND", str(tool))
    assert rewind.main(["-D", str(data), "--source-server", "dbname=postgres"]) == code
    assert not rewind.note_beside(data).exists()


def test_wal_of_the_common_history_outlives_a_rewind_and_other_wal_does_not(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The servers parted in the middle of segment 0000000800000001000000D2."""
    own = ("0000000700000001000000A4", "0000000800000001000000A6", "0000000800000001000000D1")
    parted, later = "0000000800000001000000D2", "0000000800000001000000D3"
    branch = "0000000A00000001000000A7"  # of a timeline that the source knows nothing of
    for name in (*own, parted, later, branch, "00000008.history"):
        with (data / "pg_wal" / name).open("w") as file:
            file.write(f"of the former primary: {name}")
            if "history" not in name:
                file.truncate(16 << 20)
    source = data.parent / "source"
    source.mkdir()
    (source / "00000008.history").write_text("7\t1/A5000000\tno reason\n")
    (source / "00000009.history").write_text("7\t1/A5000000\tno reason\n\n8\t1/D2420988\tno reason\n")
    for name in ("0000000800000001000000D1", "0000000900000001000000D2"):
        (source / name).write_text("of the source")
    tool = data.parent / "pg_rewind"
    tool.write_text(f'#!/bin/sh\nrm "{data}"/pg_wal/* && cp "{source}"/* "{data}"/pg_wal\n')
    tool.chmod(0o755)
    monkeypatch.setattr(rewind, "PG_REWIND", str(tool))
    assert rewind.main(["-D", str(data)]) == 0
    left = {path.name: path.read_bytes().startswith(b"of the former primary") for path in (data / "pg_wal").iterdir()}
    assert left == dict.fromkeys(own[:2], True) | {path.name: False for path in source.iterdir()}
    assert {path.name for path in data.parent.iterdir()} == {"pgdata", "source", "pg_rewind"}


def test_wal_is_given_back_where_only_the_wrapper_was_killed(data: Path) -> None:
    """pg_rewind had ended: the next start does what was left."""
    for name in ("0000000800000000000000A6", "0000000800000000000000D2"):
        (data / "pg_wal" / name).write_bytes(b"own")
        os.truncate(data / "pg_wal" / name, 16 << 20)
    rewind.keep_wal(data)
    for segment in (data / "pg_wal").iterdir():
        segment.unlink()
    (data / "pg_wal" / "00000009.history").write_text("8\t0/D2420988\tno reason\n")
    at(rewind.note_beside(data), 20)
    at(data / "global" / "pg_control", 25)
    assert not rewind.discard_half_rewound(data)
    assert {path.name for path in (data / "pg_wal").iterdir()} == {"0000000800000000000000A6", "00000009.history"}
    assert {path.name for path in data.parent.iterdir()} == {"pgdata"}


def test_a_volume_without_second_names_costs_no_rewind(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "pg_wal" / "0000000800000000000000A6").write_bytes(b"own")
    monkeypatch.setattr(rewind, "PG_REWIND", "true")

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    assert rewind.main(["-D", str(data)]) == 0
    assert {path.name for path in data.parent.iterdir()} == {"pgdata"}


def test_a_question_for_help_leaves_no_note(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewind, "PG_REWIND", "true")
    assert rewind.main(["--help"]) == 0

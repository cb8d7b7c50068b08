"""History files: what is written is read again, also after a kill in the middle of a line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.history import Action, Operation, Outcome, of_clients, read_histories, to_line

if TYPE_CHECKING:
    from pathlib import Path

FIRST = Operation("sql-held", Action.APPEND, "k", 1, 1.0, 1.5, Outcome.UNKNOWN, "gone")
SECOND = Operation("redis", Action.READ_LIST, "k", [1, 2], 0.5, 0.7, Outcome.OK)


def test_histories_of_several_clients_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(to_line(FIRST) + "\n" + to_line(SECOND)[:20])
    (tmp_path / "b.jsonl").write_text(to_line(SECOND) + "\n")
    assert read_histories(sorted(tmp_path.glob("*.jsonl"))) == [SECOND, FIRST]


def test_clients_are_found_by_the_beginning_of_their_names() -> None:
    assert of_clients([FIRST, SECOND], "sql") == [FIRST]

"""How new this member's data is, kept on its volume: what a whole-group restart decides by."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """Written every second while data is held; an empty volume has generation 0."""

    generation: int = 0
    offset: int = 0
    was_master: bool = False


def load(path: Path) -> Record:
    """The record on the volume, or an empty one."""
    try:
        data = json.loads(path.read_text())
        return Record(int(data["generation"]), int(data["offset"]), bool(data["was_master"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Record()


def save(path: Path, record: Record) -> None:
    """Replace the record so that a crash leaves the old or the new one."""
    draft = path.with_suffix(".new")
    with draft.open("w") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)

"""`python -m tests.unit.backend.fuzz TARGET FOLDER [libFuzzer's options]`: fuzz one parser, led by what it covers."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["appstack_backend"]):
    from tests.unit.backend.fuzz.targets import TARGETS, fuzz_all, seeds


def main(name: str, folder: Path, *options: str) -> None:
    """Keeps what it found in FOLDER, and goes on from there the next time."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup(
        [sys.argv[0], str(folder), f"-artifact_prefix={folder}/", *options], {**TARGETS, "all": fuzz_all}[name]
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])

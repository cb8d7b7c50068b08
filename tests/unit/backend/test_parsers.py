"""The parsers under a fuzzer that is led by their coverage; where it is not installed, under random bytes."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.backend.fuzz.targets import TARGETS, fuzz_all, seeds

ROOT = Path(__file__).resolve().parents[3]
HAS_FUZZER = importlib.util.find_spec("atheris") is not None
LIMITS = ("-max_len=2048", "-timeout=20", "-rss_limit_mb=600", "-verbosity=0", "-seed=1")


def fuzz(name: str, folder: Path, *options: str) -> None:
    command = [sys.executable, "-m", "tests.unit.backend.fuzz", name, str(folder), *LIMITS, *options]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert run.returncode == 0, run.stdout.decode(errors="replace")[-3_000:]


def test_no_bytes_break_a_parser(tmp_path: Path) -> None:
    if HAS_FUZZER:
        fuzz("all", tmp_path, "-runs=15000")
        return
    draw = random.Random(1)
    for seed in (b"", *seeds("all")):
        for _ in range(300):
            fuzz_all(mutated(draw, seed))


def mutated(draw: random.Random, seed: bytes) -> bytes:
    """The seed with a few bytes changed, put in or left out."""
    data = bytearray(seed)
    for _ in range(draw.randrange(8)):
        at = draw.randrange(len(data) + 1)
        data[at : at + draw.randrange(3)] = draw.randbytes(draw.randrange(3))
    return bytes(data)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(not HAS_FUZZER, reason="atheris has no wheel for this Python")
@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_break_a_parser_for_long(name: str) -> None:
    """What was found before is kept in build/fuzz, and gone on with."""
    fuzz(name, ROOT / "build" / "fuzz" / name, "-max_total_time=120")

"""The demo of `make up`: its numbers are those of the import that it made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appstack_lab.up import demo

if TYPE_CHECKING:
    from appstack_lab.up.steps import Steps
    from tests.cluster.kit.stack import Stack


def test_the_demo_imports_every_row_and_reads_one_back(shop: Stack, steps: Steps) -> None:
    with steps.step("demo", "demo", "see the log"):
        numbers = demo.run(steps, shop.namespace)
    assert (numbers.rows, numbers.imported, numbers.rejected) == (demo.ROWS, demo.ROWS, 0)
    assert 0 < numbers.upload_seconds <= numbers.total_seconds

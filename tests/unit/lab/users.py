"""Being another user for a while, for the kernel too."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Nobody while the block runs, if we are root; whoever is not is refused by a directory's mode all the same."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)

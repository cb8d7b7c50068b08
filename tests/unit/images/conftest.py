"""Makes the small agents importable that live beside their images and in no package of ours."""

from __future__ import annotations

import sys
from pathlib import Path

IMAGES = Path(__file__).parents[3] / "images"

for folder in ("redis", "postgres/agent", "rabbitmq"):
    sys.path.insert(0, str(IMAGES / folder))

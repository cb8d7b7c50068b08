"""What single words of the command line mean: a duration, a size, the command to run in a node. Pure."""

from __future__ import annotations

import argparse
import re
from typing import Any

from appstack_lab.cluster import checked_size
from appstack_lab.failures import LabError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")


def seconds(text: str) -> float:
    """Read a duration as kind takes it: 60s, 5m, 1m30s; a number alone counts seconds."""
    parts = DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: use one such as 60s, 5m or 1m30s")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def size(text: str) -> str:
    """Read the limit of a node's volumes."""
    try:
        return checked_size(text)
    except LabError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class CommandInNode(argparse.Action):
    """All that follows the node: argparse takes our own --name for a part of it, and the -- before it too."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, _: str | None = None
    ) -> None:
        words = list(values)
        if words[:1] == ["--name"]:
            if len(words) == 1:
                parser.error("argument --name: expected one argument")
            namespace.name = words[1]
            words = words[2:]
        elif words and words[0].startswith("--name="):
            namespace.name = words.pop(0).removeprefix("--name=")
        namespace.command = words[1:] if words[:1] == ["--"] else words

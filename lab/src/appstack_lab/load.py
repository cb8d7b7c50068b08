"""Loads images into the nodes of a cluster: layers by hard links, the rest through containerd.

What containerd is told is what it would have found out itself: a committed snapshot for every layer,
and an image whose manifest names them. Nothing is unpacked again and nothing is restarted.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab.builders import require_stored
from appstack_lab.commands import output_of
from appstack_lab.failures import LabError
from appstack_lab.layers import StoredImage, archive_of, link_layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from appstack_lab.cluster import Cluster, Node

UNFINISHED = "lab-loading-"


def upper_directory(mounts: str) -> Path:
    """Find the directory to fill in what `ctr snapshots mounts` prints."""
    found = re.search(r"upperdir=([^,\s]+)", mounts) or re.search(r"mount -t bind (\S+)", mounts)
    if not found:
        raise LabError(f"containerd named no directory for a layer: {mounts!r}")
    return Path(found[1])


def load_into_node(cluster: Cluster, node: Node, images: Sequence[StoredImage]) -> int:
    """Load what a node lacks; return how many images that were."""
    ctr = ["ctr", f"--address={cluster.containerd(node)}", "--namespace=k8s.io"]
    present = set(output_of([*ctr, "images", "list", "--quiet"]).split())
    missing = [image for image in images if image.ref not in present]
    if not missing:
        return 0
    listing = output_of([*ctr, "snapshots", "list"]).splitlines()[1:]
    committed = {line.split()[0] for line in listing if line.split()[-1] == "Committed"}
    for key in (line.split()[0] for line in listing):
        if key.startswith(UNFINISHED):
            output_of([*ctr, "snapshots", "remove", key])
    for image in missing:
        below: list[str] = []
        for diff, chain in zip(image.diffs, image.chains, strict=True):
            if chain not in committed:
                add_snapshot(ctr, diff, chain, below)
                committed.add(chain)
            below = [chain]
        archive = str(archive_of(image.ref))
        output_of([*ctr, "images", "import", "--no-unpack", "--all-platforms", archive])
    return len(missing)


def add_snapshot(ctr: list[str], diff: str, chain: str, below: list[str]) -> None:
    """Give containerd one layer, as its own unpacking would."""
    key = f"{UNFINISHED}{chain}"
    output_of([*ctr, "snapshots", "prepare", key, *below])
    mounts = output_of([*ctr, "snapshots", "mounts", "/mnt", key])
    link_layer(diff, upper_directory(mounts))
    output_of([*ctr, "snapshots", "commit", chain, key])


def load_images(cluster: Cluster, refs: Sequence[str], nodes: Sequence[Node] = ()) -> dict[str, int]:
    """Load images of the cache into every node; return how many were new to each."""
    images = [require_stored(ref) for ref in refs]
    chosen = list(nodes or cluster.nodes)
    with ThreadPoolExecutor(len(chosen)) as pool:
        counts = list(pool.map(lambda node: load_into_node(cluster, node, images), chosen))
    return {node.name: count for node, count in zip(chosen, counts, strict=True)}

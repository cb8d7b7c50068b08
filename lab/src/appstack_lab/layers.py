"""Keeps images unpacked: each layer once, as the directory that an overlay mount wants.

A node takes a layer by hard links, so loading an image copies nothing; containerd gets only the
manifest and the configuration of the image.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from appstack_lab import paths
from appstack_lab.commands import output_of
from appstack_lab.images import file_name
from appstack_lab.state import write_json

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in the cache: its layers from the bottom, each with the name containerd gives the stack."""

    ref: str
    size: int
    diffs: list[str]
    chains: list[str]


def build_chains(diffs: list[str]) -> list[str]:
    """Compute the chain ids of OCI: the identity of each layer on top of those below it."""
    chains: list[str] = []
    for diff in diffs:
        below = chains[-1] if chains else ""
        digest = hashlib.sha256(f"{below} {diff}".encode()).hexdigest()
        chains.append(f"sha256:{digest}" if chains else diff)
    return chains


def layer_directory(diff: str) -> Path:
    """Return where a layer lies unpacked."""
    return paths.cache() / "layers" / diff.replace(":", "-")


def store_directory(ref: str) -> Path:
    return paths.cache() / "images" / file_name(ref)


def stored(ref: str) -> StoredImage | None:
    """Return the image of the cache, if it is there as a whole."""
    description = store_directory(ref) / "image.json"
    if not description.exists():
        return None
    image = StoredImage(**json.loads(description.read_text()))
    return image if all(layer_directory(diff).is_dir() for diff in image.diffs) else None


def archive_of(ref: str) -> Path:
    """Return the archive with manifest and configuration, without layers."""
    return store_directory(ref) / "image.tar"


def store(ref: str, exported: Path) -> StoredImage:
    """Take an image that buildah exported as a directory into the cache."""
    manifest_bytes = (exported / "manifest.json").read_bytes()
    manifest = json.loads(manifest_bytes)
    config_digest = manifest["config"]["digest"]
    config_bytes = (exported / config_digest.removeprefix("sha256:")).read_bytes()
    diffs = json.loads(config_bytes)["rootfs"]["diff_ids"]
    for diff, layer in zip(diffs, manifest["layers"], strict=True):
        if not layer_directory(diff).is_dir():
            unpack(exported / layer["digest"].removeprefix("sha256:"), layer_directory(diff))
    directory = store_directory(ref)
    directory.mkdir(parents=True, exist_ok=True)
    write_archive(ref, manifest_bytes, config_digest, config_bytes)
    size = sum(layer["size"] for layer in manifest["layers"])
    image = StoredImage(ref, size, diffs, build_chains(diffs))
    write_json(directory / "image.json", asdict(image))
    return image


def unpack(archive: Path, target: Path) -> None:
    """Unpack one layer, whole or not at all, with deletions in the form of overlay mounts."""
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    output_of(
        ["tar", "--extract", f"--file={archive}", f"--directory={partial}", "--numeric-owner", "--same-owner",
         "--preserve-permissions", "--xattrs", "--xattrs-include=*", "--delay-directory-restore"]
    )  # fmt: skip
    for directory, _, names in os.walk(partial):
        for name in names:
            if name.startswith(WHITEOUT):
                convert_whiteout(Path(directory), name)
    partial.rename(target)


def convert_whiteout(directory: Path, name: str) -> None:
    """Turn a marker of the archive into what overlayfs reads: a device 0:0, or an opaque directory."""
    times = directory.stat()
    (directory / name).unlink()
    if name == OPAQUE:
        os.setxattr(directory, "trusted.overlay.opaque", b"y")
    else:
        os.mknod(directory / name.removeprefix(WHITEOUT), stat.S_IFCHR | 0o000, os.makedev(0, 0))
    os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))


def write_archive(ref: str, manifest: bytes, config_digest: str, config: bytes) -> None:
    """Write what `ctr images import` reads; the layers it names are already in place when it is used."""
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    index: dict[str, Any] = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest,
                "size": len(manifest),
                "annotations": {"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref},
            }
        ],
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps(index).encode(),
        f"blobs/{digest.replace(':', '/')}": manifest,
        f"blobs/{config_digest.replace(':', '/')}": config,
    }
    with tarfile.open(archive_of(ref), "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def link_layer(diff: str, target: Path) -> None:
    """Fill a directory with a layer: by hard links where they can lead there, else by copying."""
    source = layer_directory(diff)
    how = "--link" if can_be_linked(paths.cache(), target) else "--reflink=auto"
    output_of(["cp", "-a", how, f"{source}/.", str(target)])


def can_be_linked(source: Path, target: Path) -> bool:
    """Whether files of one directory can have names in another: not between two mounts, though it be of one disk."""
    with NamedTemporaryFile(dir=source, prefix=".link-") as probe:
        link = target / Path(probe.name).name
        try:
            link.hardlink_to(probe.name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return False
        link.unlink()
    return True

"""Builds images: with buildah into the lab's cache, or with Docker into Docker's."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from appstack_lab import paths, uses, versions
from appstack_lab.binaries import build_binaries, program
from appstack_lab.commands import output_of, run_logged, succeeds
from appstack_lab.contexts import copy_context, hash_of
from appstack_lab.failures import LabError
from appstack_lab.images import BASE, CONTEXTS, PROGRAMS, Image, file_name, image_of
from appstack_lab.layers import StoredImage, store, stored
from appstack_lab.locks import locked
from appstack_lab.packages import IMAGE_TOOLS, ensure_packages
from appstack_lab.progress import step

if TYPE_CHECKING:
    from collections.abc import Sequence

CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
# Where the Dockerfiles that download look for them; only their build stage has the file, no image.
CERTIFICATES_IN_CONTEXT = "own-ca.pem"
SUITE = "trixie"
# Like Debian's own slim image: no documentation, no translations, also in what is installed later.
SLIM = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def buildah(*arguments: str) -> list[str]:
    """Return a buildah command that works on storage of its own."""
    root = paths.cache() / "buildah"
    storage = ["--storage-driver", "overlay", "--root", f"{root}/root", "--runroot", f"{root}/run"]
    return ["buildah", *storage, *arguments]


def own_certificates() -> Path | None:
    """Return the authorities that this machine's environment names, if it has its own."""
    named = (Path(os.environ[name]) for name in CERTIFICATE_VARIABLES if os.environ.get(name))
    return next((path for path in named if path.is_file()), None)


def log_of(name: str) -> Path:
    return paths.logs() / f"image-{name}.log"


def take_from_buildah(ref: str, log: Path) -> StoredImage:
    """Export an image from buildah into the cache of unpacked layers."""
    exported = paths.cache() / "export" / file_name(ref)
    shutil.rmtree(exported, ignore_errors=True)
    exported.parent.mkdir(parents=True, exist_ok=True)
    try:
        push = buildah("push", "--quiet", "--disable-compression", "--format=oci", ref, f"dir:{exported}")
        run_logged(f"exporting {ref}", push, log)
        return store(ref, exported)
    finally:
        shutil.rmtree(exported, ignore_errors=True)


def build_base() -> StoredImage:
    """Build Debian's slim image from Debian's packages under the name that Dockerfiles use."""
    done = stored(BASE)
    if done and succeeds(buildah("inspect", "--type", "image", BASE)):
        return done
    ensure_packages(IMAGE_TOOLS)
    log = log_of("base")
    archive = paths.cache() / "base.tar"
    with step(f"build image {BASE}"):
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in SLIM]
        options += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
        run_logged(
            "mmdebstrap",
            ["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates", *options, SUITE,
             str(archive)],
            log,
        )  # fmt: skip
        container = output_of(buildah("from", "scratch")).strip()
        try:
            run_logged("buildah add", buildah("add", "--quiet", container, str(archive), "/"), log)
            output_of(buildah("config", "--cmd", "bash", container))
            run_logged("buildah commit", buildah("commit", "--quiet", container, BASE), log)
        finally:
            succeeds(buildah("rm", container))
            archive.unlink()
        return take_from_buildah(BASE, log)


def program_context(name: str, user: str, target: Path) -> None:
    """Make the context of an image that holds one static program."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    build_binaries([name])
    shutil.copy2(program(name), target / name)
    dockerfile = f'FROM scratch\nCOPY {name} /{name}\nUSER {user}:{user}\nENTRYPOINT ["/{name}"]\n'
    (target / "Dockerfile").write_text(dockerfile)


def prepare_context(image: Image) -> Path:
    """Copy the context of an image aside; the caller removes it.

    Sources that changed since the reference was computed would put one content under another's name.
    """
    target = paths.cache() / "contexts" / f"{image.name}-{os.getpid()}"
    if image.name in PROGRAMS:
        program_context(image.name, PROGRAMS[image.name], target)
        return target
    copy_context(CONTEXTS[image.name], target)
    if not image.ref.endswith(hash_of(target)):
        shutil.rmtree(target)
        raise LabError(f"the sources of {image.name} changed while it was being built: run the command again")
    certificates = own_certificates()
    if certificates:
        shutil.copyfile(certificates, target / CERTIFICATES_IN_CONTEXT)
    return target


def build_with_buildah(image: Image) -> StoredImage:
    """Build one image into the cache, unless it is there."""
    done = stored(image.ref)
    if done:
        return done
    ensure_packages(IMAGE_TOOLS)
    log = log_of(image.name)
    log.unlink(missing_ok=True)
    with step(f"build image {image.ref}"):
        context = prepare_context(image)
        try:
            options = ["--pull=never", "--isolation=chroot", "--network=host", "--format=oci", "--layers"]
            command = buildah("bud", *options, "--tag", image.ref, str(context))
            run_logged(f"building {image.name}", command, log)
        finally:
            shutil.rmtree(context, ignore_errors=True)
        label_in_buildah(image.ref, log)
        return take_from_buildah(image.ref, log)


def label_in_buildah(ref: str, log: Path) -> None:
    """Show the exact versions of an image's packages as its labels; twice is the same as once."""
    container = output_of(buildah("from", "--pull-never", ref)).strip()
    try:
        listing = Path(output_of(buildah("mount", container)).strip()) / versions.FILE
        labels = versions.labels_of(listing.read_text()) if listing.exists() else {}
        if labels:
            options = [f"--label={name}={value}" for name, value in labels.items()]
            output_of(buildah("config", *options, container))
            run_logged("buildah commit", buildah("commit", "--quiet", "--format=oci", container, ref), log)
    finally:
        output_of(buildah("rm", container))


def build_with_docker(image: Image) -> None:
    """Build one image into Docker's store, unless it is there."""
    if succeeds(["docker", "image", "inspect", image.ref]):
        return
    log = log_of(f"{image.name}-docker")
    log.unlink(missing_ok=True)
    with step(f"build image {image.ref} with Docker"):
        context = prepare_context(image)
        try:
            # Under its name only once it is labelled: a name that is there counts as built.
            raw = f"{image.ref}-unlabelled"
            run_logged(f"building {image.name}", ["docker", "build", "-t", raw, str(context)], log)
            label_in_docker(raw, image.ref)
        finally:
            shutil.rmtree(context, ignore_errors=True)


def label_in_docker(raw: str, ref: str) -> None:
    """Give `raw` the name `ref` and, as labels, the exact versions of its packages."""
    command = ["docker", "run", "--rm", "--network=none", "--entrypoint=cat", raw, f"/{versions.FILE}"]
    labels = versions.labels_of(output_of(command))
    options = [f"--label={name}={value}" for name, value in labels.items()]
    output_of(["docker", "build", "--quiet", "-t", ref, *options, "-"], stdin=f"FROM {raw}\n")
    output_of(["docker", "image", "rm", "--no-prune", raw])


def build_images(images: Sequence[Image], builder: str = "buildah") -> None:
    """Build what is missing of the images."""
    if builder == "docker":
        with locked(paths.cache() / "images-docker.lock"):
            for image in images:
                build_with_docker(image)
        return
    uses.touch(image.ref for image in images)
    if all(stored(image.ref) for image in images):
        return
    with locked(paths.cache() / "images.lock"):
        if any(image.name in CONTEXTS and not stored(image.ref) for image in images):
            build_base()
        for image in images:
            build_with_buildah(image)


def build_cluster_images() -> dict[str, str]:
    """Build what a cluster itself needs; return name -> reference."""
    images = [image_of(name) for name in PROGRAMS]
    build_images(images)
    if not stored(BASE):
        with locked(paths.cache() / "images.lock"):
            build_base()
    return {**{image.name: image.ref for image in images}, "base": BASE}


def root_filesystem(name: str) -> Path:
    """Return a directory with the root filesystem of an image: a copy of its own, made once."""
    image = image_of(name)
    build_images([image])
    target = paths.cache() / "rootfs" / file_name(image.ref)
    if target.is_dir():
        return target
    with locked(paths.cache() / "images.lock"):
        if not target.is_dir():
            copy_root_filesystem(image, target)
    return target


def copy_root_filesystem(image: Image, target: Path) -> None:
    """Copy an image's files out of a mounted container, whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with step(f"unpack {image.ref}"):
        container = output_of(buildah("from", "--pull-never", image.ref)).strip()
        try:
            mounted = output_of(buildah("mount", container)).strip()
            output_of(["cp", "-a", "--reflink=auto", f"{mounted}/.", str(partial)])
        finally:
            output_of(buildah("rm", container))
    partial.rename(target)


def require_stored(ref: str) -> StoredImage:
    """Return an image of the cache, to be used now; an unknown one is an error."""
    uses.touch([ref])
    image = stored(ref)
    if image is None:
        raise LabError(f"{ref} is not in the cache: run lab build images")
    return image

"""Images of ordinary Dockerfiles reach the nodes whole and quickly."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from appstack_lab import builders, images, load, prune, versions
from appstack_lab.commands import output_of
from appstack_lab.state import require_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import LabCluster

pytestmark = pytest.mark.timeout(900)

LOAD_SECONDS = 120.0  # a limit for hangs; a second or two
# A second layer deletes a file, replaces a directory and changes an owner: all of it must arrive.
DOCKERFILE = """\
FROM debian:trixie-slim
LABEL org.opencontainers.image.version="1"
COPY greeting /srv/greeting
RUN mkdir /usr/share/appstack && dpkg-query --show base-files > /usr/share/appstack/version
RUN mkdir /srv/old && touch /srv/old/gone /srv/removed
RUN rm /srv/removed && rm -r /srv/old && mkdir /srv/old && touch /srv/old/new && chown 1234:1234 /srv/old/new
USER 1234:1234
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Sources of an image that is new to everybody; what was built of them goes afterwards."""
    sources = tmp_path_factory.mktemp("probe")
    (sources / "Dockerfile").write_text(DOCKERFILE)
    (sources / "greeting").write_text(f"hello {time.time_ns()}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(images.CONTEXTS, "probe", sources)
        yield sources
    for ref in prune.stored_images():
        if ref.startswith(f"{images.PREFIX}/probe:"):
            prune.remove_image(ref)


def test_a_new_image_runs_on_a_running_cluster(cluster: LabCluster, probe: Path) -> None:
    image = images.image_of("probe")
    builders.build_images([image])
    start = time.monotonic()
    cluster.lab("load", "docker-image", image.ref)
    assert time.monotonic() - start < LOAD_SECONDS
    look = "cat /srv/greeting; stat -c '%n %u' /srv/* /srv/old/*; id -u"
    cluster.kubectl(
        "run", "probe", f"--image={image.ref}", "--image-pull-policy=Never", "--restart=Never",
        "--command", "--", "sh", "-c", look,
    )  # fmt: skip
    cluster.wait("jsonpath={.status.phase}=Succeeded", "probe")
    seen = cluster.kubectl("logs", "probe").splitlines()
    cluster.kubectl("delete", "pod", "probe", "--now")
    greeting = (probe / "greeting").read_text().strip()
    assert seen == [greeting, "/srv/greeting 0", "/srv/old 0", "/srv/old/new 1234", "1234"]


def test_an_image_shows_the_exact_versions_of_its_packages(probe: Path) -> None:
    image = images.image_of("probe")
    builders.build_images([image])
    config = json.loads(output_of(builders.buildah("inspect", "--type", "image", image.ref)))
    listed = (builders.root_filesystem("probe") / versions.FILE).read_text().split()
    assert config["OCIv1"]["config"]["Labels"][f"{versions.PREFIX}base-files"] == listed[1]


def test_an_image_that_is_there_is_not_loaded_again(cluster: LabCluster) -> None:
    cluster.lab("load", "docker-image", images.BASE)
    assert load.load_images(require_cluster(cluster.name), [images.BASE]) == {"node1": 0, "node2": 0}


def test_an_unknown_image_is_refused_with_the_way_out(cluster: LabCluster) -> None:
    done = cluster.lab("load", "docker-image", "appstack.dev/nobody:1", check=False)
    assert done.returncode == 1
    assert "lab build images" in done.stderr


def test_a_root_filesystem_holds_the_images_files(probe: Path) -> None:
    root = builders.root_filesystem("probe")
    assert (root / "srv" / "greeting").read_text() == (probe / "greeting").read_text()
    assert not (root / "srv" / "removed").exists()
    assert [path.name for path in (root / "srv" / "old").iterdir()] == ["new"]


def test_a_changed_source_is_another_image(probe: Path) -> None:
    before = images.image_of("probe").ref
    (probe / "greeting").write_text("bye\n")
    assert images.image_of("probe").ref != before


FILL = """\
from pathlib import Path
from sys import argv
from appstack_lab import layers, paths
paths.cache = lambda: Path(argv[1])
layers.link_layer("sha256:1", Path(argv[2]))
"""


@pytest.mark.parametrize("is_mounted", [False, True])
def test_a_layer_arrives_also_where_the_cache_is_a_mount_of_its_own(tmp_path: Path, *, is_mounted: bool) -> None:
    """Of the same disk even: so it is in containers whose cache is a volume."""
    cache, kept, node = (tmp_path / each for each in ("cache", "kept", "node"))
    for each in (cache, node, (kept if is_mounted else cache) / "layers" / "sha256-1"):
        each.mkdir(parents=True)
    (each / "greeting").write_text("hello")
    mount = 'if [ "$1" ]; then mount --bind "$1" "$2"; fi; exec "$3" -c "$4" "$2" "$5"'
    words = [kept if is_mounted else "", cache, sys.executable, FILL, node]
    subprocess.run(["unshare", "--mount", "sh", "-ec", mount, "sh", *map(str, words)], check=True)
    assert [path.name for path in node.iterdir()] == ["greeting"], "and no probe is left"
    links = (node / "greeting").stat().st_nlink
    assert links == (1 if is_mounted else 2)
    assert [path.name for path in cache.iterdir()] == ([] if is_mounted else ["layers"])

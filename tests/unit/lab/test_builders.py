"""What a build is given: exactly the sources, this machine's authorities, and nothing that needs BuildKit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from appstack_lab import builders
from appstack_lab.failures import LabError
from appstack_lab.images import CONTEXTS, images_of

if TYPE_CHECKING:
    from pathlib import Path

DOCKER = """\
#!/bin/sh
case "$1 $2" in
"build -t") cp -r "$4" {kept}; echo "built $3" ;;
"build --quiet") echo "$@" > {kept}/labelling; cat >> {kept}/labelling ;;
"run --rm") printf 'python3\\t3.13.5-1\\nlibc6:amd64\\t2.41-12\\n' ;;
"image rm") ;;
*) exit 1 ;;
esac
"""
DOWNLOADING = ("operator", "backend")  # these take their dependencies over HTTPS


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose docker knows no image and keeps what it is told to build; where it keeps it."""
    kept = tmp_path / "kept"
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    # build -t REF CONTEXT keeps the context; build --quiet … labels; `image inspect` finds nothing
    program.write_text(DOCKER.format(kept=kept))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("APPSTACK_CACHE", str(tmp_path / "cache"))
    for name in builders.CERTIFICATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return kept


def test_the_authorities_of_this_machine_are_those_its_environment_names(
    tmp_path: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("a certificate")
    assert builders.own_certificates() is None
    monkeypatch.setenv("CURL_CA_BUNDLE", str(bundle))
    assert builders.own_certificates() == bundle
    bundle.unlink()
    assert builders.own_certificates() is None


@pytest.mark.parametrize("name", DOWNLOADING)
def test_a_build_that_downloads_is_shown_the_authorities_of_this_machine(
    name: str, tmp_path: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("a certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    (image,) = images_of([name])
    builders.build_images([image], builder="docker")
    assert (docker / builders.CERTIFICATES_IN_CONTEXT).read_text() == "a certificate"
    build, final = stages_of((docker / "Dockerfile").read_text())
    assert builders.CERTIFICATES_IN_CONTEXT in build
    assert "PIP_CERT=" in build
    assert builders.CERTIFICATES_IN_CONTEXT not in final
    # another machine's authorities make no other image
    assert images_of([name]) == [image]


def test_a_build_has_no_authorities_where_the_machine_has_none_of_its_own(docker: Path) -> None:
    builders.build_images(images_of(["operator"]), builder="docker")
    assert (docker / "requirements.lock").exists()
    assert not (docker / builders.CERTIFICATES_IN_CONTEXT).exists()


def test_a_build_with_docker_leaves_the_log_of_the_other_builder_alone(docker: Path) -> None:
    other = builders.log_of("redis")
    other.parent.mkdir(parents=True)
    other.write_text("buildah is at work")
    builders.build_images(images_of(["redis"]), builder="docker")
    assert other.read_text() == "buildah is at work"


def test_a_failed_build_names_its_log_and_leaves_no_context_behind(tmp_path: Path, docker: Path) -> None:
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\necho 'No space left on device'\nexit 1\n")
    with pytest.raises(LabError, match=r"image-redis-docker\.log(?s:.)*the disk is full"):
        builders.build_images(images_of(["redis"]), builder="docker")
    assert list((tmp_path / "cache" / "contexts").iterdir()) == []


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_dockerfile_builds_with_a_docker_that_has_no_buildkit(name: str) -> None:
    """Debian's docker.io is one; it refuses these options."""
    dockerfile = (CONTEXTS[name] / "Dockerfile").read_text()
    assert (
        re.findall(r"^(?:COPY|ADD|RUN)\b.*\s--(?:chmod|link|mount|network|parents|exclude)\b", dockerfile, re.M) == []
    )
    assert "<<" not in dockerfile


def stages_of(dockerfile: str) -> list[str]:
    return re.split(r"^FROM .*$", dockerfile, flags=re.MULTILINE)[1:]


def test_an_image_shows_the_exact_versions_of_its_packages(docker: Path) -> None:
    (image,) = images_of(["redis"])
    builders.build_images([image], builder="docker")
    told = (docker / "labelling").read_text()
    assert "--label=dev.appstack.version.python3=3.13.5-1" in told
    assert "--label=dev.appstack.version.libc6=2.41-12" in told
    assert f"-t {image.ref} " in told
    assert told.endswith(f"FROM {image.ref}-unlabelled\n")

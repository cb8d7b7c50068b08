"""The exact package versions of a built image: read from the file its Dockerfile left, shown as labels."""

from __future__ import annotations

# One line a package, as `dpkg-query --show` prints it: name, tab, version.
FILE = "usr/share/appstack/version"
PREFIX = "dev.appstack.version."


def labels_of(listing: str) -> dict[str, str]:
    """Return the labels that show the listed packages, by label name.

    A Dockerfile can pin no more than a package's series, since Debian's archive drops what a newer build replaces;
    what a build got is known once it is built.
    """
    pairs = (line.split("\t") for line in listing.splitlines() if line.strip())
    return {f"{PREFIX}{name.split(':')[0]}": version for name, version in pairs}

"""The end of a log names the probable cause: what apt, pip and Go really said, each brought about once."""

from __future__ import annotations

import pytest

from appstack_lab.failures import probable_cause


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        pytest.param("E: Version '9.9' for 'containerd' was not found", "no longer has that version", id="version"),
        pytest.param("E: Unable to locate package nosuchpkg", "lists are old", id="package"),
        pytest.param(
            "W: Failed to fetch http://127.0.0.1:9/debian/dists/bookworm/InRelease  Could not connect to "
            "127.0.0.1:9 (127.0.0.1). - connect (111: Connection refused)",
            "mirror did not deliver",
            id="no mirror",
        ),
        pytest.param(
            "E: Failed to fetch http://127.0.0.1:8767/debian/dists/bookworm/main/binary-amd64/Packages  "
            "404  Not Found [IP: 127.0.0.1 8767]",
            "run apt-get update",
            id="old lists",
        ),
        pytest.param(
            "W: Failed to fetch http://no-such-host.invalid/debian/dists/bookworm/InRelease  "
            "Could not resolve 'no-such-host.invalid'",
            "could not be resolved",
            id="no name service",
        ),
        pytest.param(
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package "
            "versions, please update the hashes.",
            "another file than the lock names",
            id="hashes",
        ),
        pytest.param("ERROR: No matching distribution found for colorama", "index is out of reach", id="no index"),
        pytest.param(
            "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPConnectionPool(host='127.0.0.1', "
            "port=8768): Read timed out.",
            "stood still",
            id="slow index",
        ),
        pytest.param("m.go:2:8: module lookup disabled by GOPROXY=off", "GOPROXY forbids", id="no proxy allowed"),
        pytest.param(
            "m.go:2:8: golang.org/x/text@v0.14.0: reading "
            "http://127.0.0.1:8765/golang.org/x/text/@v/v0.14.0.zip: 404 File not found",
            "proxy did not deliver",
            id="proxy without it",
        ),
        pytest.param(
            'm.go:2:8: golang.org/x/text@v0.14.0: Get "http://127.0.0.1:9/golang.org/x/text/@v/v0.14.0.zip": '
            "dial tcp 127.0.0.1:9: connect: connection refused",
            "is the network up",
            id="no proxy",
        ),
    ],
)
def test_words_of_a_tool_name_the_cause(said: str, cause: str) -> None:
    assert cause in (probable_cause(f"    one line\n    {said}\n") or "")

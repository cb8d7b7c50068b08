"""The file of an export, whole and in parts: a download that was cut off goes on where it ended."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.backend.kit import feeds
from tests.backend.kit.processes import wait_until

if TYPE_CHECKING:
    import httpx

    from tests.backend.kit.world import World

ROWS = 20_000  # several pieces


@pytest.fixture(scope="module")
def path(world: World) -> str:
    """Where the file is."""
    assert world.api.feed(feeds.as_csv(feeds.rows(ROWS, seed=61)))["state"] == "succeeded"
    location = world.api.http.post("/v1/exports", json={"format": "csv"}).headers["Location"]
    wait_until(lambda: world.api.http.get(location).json()["state"] == "succeeded", "the export succeeds")
    return f"{location}/content"


@pytest.fixture(scope="module")
def file(world: World, path: str) -> httpx.Response:
    return world.api.http.get(path)


def test_parts_are_those_of_the_whole_file(world: World, path: str, file: httpx.Response) -> None:
    size, draw = len(file.content), random.Random(62)
    assert size > 3 * (256 << 10), "several pieces"
    assert (file.status_code, file.headers["Accept-Ranges"], "Content-Range" in file.headers) == (200, "bytes", False)
    drawn = [sorted(draw.choices(range(size), k=2)) for _ in range(20)]
    for first, last in [[0, 0], [size - 1, size - 1], [0, size - 1], *drawn]:
        part = world.api.http.get(path, headers={"Range": f"bytes={first}-{last}"})
        assert part.status_code == 206
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        assert part.headers["Content-Length"] == str(last + 1 - first)
        assert part.headers["ETag"] == file.headers["ETag"]
        assert part.content == file.content[first : last + 1]


def test_a_download_that_was_cut_off_goes_on(world: World, path: str, file: httpx.Response) -> None:
    got, cuts = b"", 0
    while len(got) < len(file.content):
        headers = {"Range": f"bytes={len(got)}-", "If-Range": file.headers["ETag"]}
        with world.api.http.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 206
            part = b""
            for piece in answer.iter_bytes():
                part += piece
                if len(part) > len(file.content) // 4:
                    cuts += 1
                    break
            got += part
    assert cuts > 2
    assert got == file.content
    rest = world.api.http.get(path, headers={"Range": f"bytes={len(got)}-"})
    assert (rest.status_code, rest.json()["code"]) == (416, "RANGE_NOT_SATISFIABLE")
    assert rest.headers["Content-Range"] == f"bytes */{len(got)}"


@pytest.mark.parametrize("if_range", ['"another"', "W/{tag}", "Sun, 29 Nov 2026 21:00:00 GMT"])
def test_a_part_of_another_file_is_not_asked_for(world: World, path: str, file: httpx.Response, if_range: str) -> None:
    headers = {"Range": "bytes=1-2", "If-Range": if_range.format(tag=file.headers["ETag"])}
    answer = world.api.http.get(path, headers=headers)
    assert (answer.status_code, answer.content) == (200, file.content)


def test_a_head_tells_of_the_file_and_sends_nothing_of_it(world: World, path: str, file: httpx.Response) -> None:
    told = world.api.http.head(path, headers={"Range": "bytes=1-2"})
    assert (told.status_code, told.content) == (200, b"")
    for name in ("Content-Length", "Content-Type", "Accept-Ranges", "ETag"):
        assert told.headers[name] == file.headers[name], name

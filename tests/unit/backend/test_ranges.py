"""Which bytes a Range asks for, as RFC 9110 has it."""

import pytest

from appstack_backend.errors import RangeNotSatisfiable
from appstack_backend.http.ranges import asked


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("bytes=0-499", "bytes 0-499/1000"),
        ("bytes=500-999", "bytes 500-999/1000"),
        ("bytes=-1", "bytes 999-999/1000"),
        ("bytes=-2000", "bytes 0-999/1000"),
        ("bytes=999-", "bytes 999-999/1000"),
        ("bytes=0-", "bytes 0-999/1000"),
        ("bytes=900-2000", "bytes 900-999/1000"),
        ("BYTES= 1-1 ,", "bytes 1-1/1000"),
    ],
)
def test_a_part_of_a_file(given: str, told: str) -> None:
    part = asked(given, 1000)
    assert part is not None
    assert part.content_range(1000) == told


@pytest.mark.parametrize(
    "given",
    [
        *(None, "", "bytes", "bytes=", "bytes=-", "bytes=1", "bytes=a-b", "bytes=2-1", "bytes=1-2-3", "bytes=+1-2"),
        *("lines=0-1", "bytes=0-1,5-6", "bytes=0 - 1", "bytes=" + "9" * 5_000 + "-", "bytes=\u0661-", "bytes 0-1"),
    ],
)
def test_what_is_no_range_asks_for_the_whole_file(given: str | None) -> None:
    assert asked(given, 1000) is None


@pytest.mark.parametrize("given", ["bytes=0-", "bytes=-1"])
def test_an_empty_file_has_no_parts(given: str) -> None:
    assert asked(given, 0) is None


@pytest.mark.parametrize(("given", "size"), [("bytes=1000-", 1000), ("bytes=-0", 1000), ("bytes=5-9", 5)])
def test_bytes_that_a_file_does_not_have(given: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as failure:
        asked(given, size)
    assert failure.value.headers == {"content-range": f"bytes */{size}"}

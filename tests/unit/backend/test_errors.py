"""The registry of errors, and the page that is generated from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from appstack_backend.errors import CATALOGUE, ApiError, NotFound, catalogue_page

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == catalogue_page(), "run `appstack-backend errors > docs/errors.md`"


def test_a_code_belongs_to_one_error() -> None:
    with pytest.raises(TypeError, match="NOT_FOUND already belongs"):
        type("Another", (ApiError,), {"code": "NOT_FOUND"})
    assert CATALOGUE["NOT_FOUND"] is NotFound


@pytest.mark.parametrize("code", sorted(CATALOGUE))
def test_every_error_is_described(code: str) -> None:
    error = CATALOGUE[code]
    assert code == code.upper()
    assert 400 <= error.status < 600
    assert error.log_level in ("info", "warning", "error")
    assert error.title and error.__doc__ and error.__doc__.strip().endswith(".")
    assert error.problem(error("why", extra=1), "id") == {
        "type": f"https://appstack.dev/errors#{code.lower()}",
        "title": error.title,
        "status": error.status,
        "detail": "why",
        "code": code,
        "request_id": "id",
        "extra": 1,
    }

"""Holds every answer that a test's client gets to what the description of the API says of its operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from appstack_backend.http.problems import codes_by_status
from appstack_backend.http.router import Router
from appstack_backend.http.routes import OPERATIONS

if TYPE_CHECKING:
    import httpx

ROUTER = Router(OPERATIONS)


def undescribed(method: str, path: str, status: int, code: str | None) -> str:
    """What an operation should not have answered; empty if it may, or if there is no operation."""
    try:
        operation, _ = ROUTER.find(method, path)
    except HTTPException:
        return ""
    is_described = (
        status in (operation.status, *operation.also)
        if code is None
        else code in codes_by_status(operation).get(status, ())
    )
    return "" if is_described else f"{operation.method} {operation.path} is not said to answer {status} {code or ''}"


def hold_to_description(answer: httpx.Response) -> None:
    """An event hook of a client."""
    method, code = answer.request.method, None
    if answer.is_error and method != "HEAD":  # which gets no body, so no code
        answer.read()
        code = answer.json()["code"]
    elif answer.is_error:
        return
    fault = undescribed(method, answer.request.url.path, answer.status_code, code)
    assert not fault, fault

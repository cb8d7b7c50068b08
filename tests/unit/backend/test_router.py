"""The router: which operation a path and method lead to."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from starlette.exceptions import HTTPException

from appstack_backend.http.router import Router


@dataclass(frozen=True)
class Way:
    method: str
    path: str


WAYS = [
    Way("GET", "/v1/products"),
    Way("GET", "/v1/products/{sku:path}"),
    Way("PUT", "/v1/products/{sku:path}"),
    Way("POST", "/v1/imports"),
    Way("GET", "/v1/imports/{id}"),
    Way("GET", "/v1/imports/{id}/errors"),
    Way("GET", "/a.b"),
]
ROUTER = Router(WAYS)


@pytest.mark.parametrize(
    ("method", "path", "leads_to", "parameters"),
    [
        ("GET", "/v1/products", "/v1/products", {}),
        ("HEAD", "/v1/products", "/v1/products", {}),
        ("PUT", "/v1/products/a/b", "/v1/products/{sku:path}", {"sku": "a/b"}),
        ("GET", "/v1/products/a\nb", "/v1/products/{sku:path}", {"sku": "a\nb"}),
        ("GET", "/v1/products/", "/v1/products/{sku:path}", {"sku": ""}),
        ("GET", "/v1/imports/7", "/v1/imports/{id}", {"id": "7"}),
        ("GET", "/v1/imports/7/errors", "/v1/imports/{id}/errors", {"id": "7"}),
    ],
)
def test_a_path_leads_to_its_operation(method: str, path: str, leads_to: str, parameters: dict[str, str]) -> None:
    way, given = ROUTER.find(method, path)
    assert (way.path, given) == (leads_to, parameters)
    assert way.method in (method, "GET")


@pytest.mark.parametrize("path", ["/", "", "/v1/products2", "/v1/imports/7/8", "/v1/imports/", "/axb"])
def test_any_other_path_leads_nowhere(path: str) -> None:
    with pytest.raises(HTTPException) as told:
        ROUTER.find("GET", path)
    assert told.value.status_code == 404


def test_another_method_is_told_those_that_there_are() -> None:
    with pytest.raises(HTTPException) as told:
        ROUTER.find("DELETE", "/v1/products/a")
    assert (told.value.status_code, told.value.headers) == (405, {"allow": "GET, HEAD, PUT"})

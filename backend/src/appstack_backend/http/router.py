"""Which operation a request is for: fixed paths by a look into a dictionary, the others by patterns in their order."""

import re
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from starlette.exceptions import HTTPException

PARAMETER = re.compile(r"{(\w+)(:path)?}")


class HasPath(Protocol):
    """What a route leads to."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...


T = TypeVar("T", bound=HasPath)


class Router(Generic[T]):
    """Operations by path and method. `{id}` is one segment of a path, `{sku:path}` all that follows, line ends too."""

    def __init__(self, operations: Iterable[T]) -> None:
        by_path: dict[str, dict[str, T]] = {}
        for operation in operations:
            methods = by_path.setdefault(operation.path, {})
            methods[operation.method] = operation
            if operation.method == "GET":
                methods["HEAD"] = operation
        self._fixed = {path: methods for path, methods in by_path.items() if "{" not in path}
        self._patterns = [(re.compile(pattern(path)), methods) for path, methods in by_path.items() if "{" in path]

    def find(self, method: str, path: str) -> tuple[T, dict[str, str]]:
        """The operation and the parameters of its path. Raises HTTPException with 404 or 405."""
        methods, parameters = self._fixed.get(path), {}
        if methods is None:
            for matcher, candidates in self._patterns:
                if match := matcher.fullmatch(path):
                    methods, parameters = candidates, match.groupdict()
                    break
            else:
                raise HTTPException(404)
        if method not in methods:
            raise HTTPException(405, headers={"allow": ", ".join(sorted(methods))})
        return methods[method], parameters


def pattern(path: str) -> str:
    """The regular expression of a path."""
    parts, at = "", 0
    for match in PARAMETER.finditer(path):
        parts += re.escape(path[at : match.start()]) + f"(?P<{match[1]}>{'(?s:.*)' if match[2] else '[^/]+'})"
        at = match.end()
    return parts + re.escape(path[at:])

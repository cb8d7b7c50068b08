"""Which problems each operation can answer with: what follows from its address, scope and parameters, and its own."""

from appstack_backend import errors
from appstack_backend.http.routes import Operation

Errors = set[type[errors.ApiError]]
# Of who calls, and of what every operation behind a token needs.
WITH_SCOPE: Errors = {
    *(errors.TokenMissing, errors.TokenInvalid, errors.ScopeMissing, errors.RateLimited),
    *(errors.DatabaseUnavailable, errors.SchemaNotReady),
}


def problems_of(operation: Operation) -> Errors:
    """Every failure that this operation may tell; any other answer is a fault of ours."""
    found: Errors = {errors.InternalError, *operation.problems}
    if operation.scope:
        found |= WITH_SCOPE
    if operation.query or operation.body:
        found.add(errors.RequestInvalid)
    if operation.sent:
        found.add(errors.BodyTooSlow)
    if "{id}" in operation.path:
        found.add(errors.NotFound)
    if "If-Match" in operation.headers:
        found.add(errors.PreconditionFailed)
    return found


def codes_by_status(operation: Operation) -> dict[int, list[str]]:
    """The codes of an operation by their status, both in order."""
    found = sorted((error.status, error.code) for error in problems_of(operation))
    return {status: [code for of, code in found if of == status] for status, _ in found}

"""Every failure a user may see: one class, one code, one entry in the catalogue.

ApiError
├── request: RequestInvalid NotFound MethodNotAllowed TokenMissing TokenInvalid ScopeMissing …
├── imports: ImportTruncated ImportHeaderInvalid … and RowError: ImportNumberInvalid …
└── services: DatabaseUnavailable SchemaNotReady InternalError
"""

from collections.abc import Mapping
from typing import Any, ClassVar

CATALOGUE: dict[str, type["ApiError"]] = {}


class ApiError(Exception):
    """A failure a user may see. The docstring of a subclass is what the catalogue tells the user."""

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    log_level: ClassVar[str] = "info"
    retry_after_seconds: int | None = None
    headers: Mapping[str, str] = {}  # that the answer has for this failure

    def __init_subclass__(cls) -> None:
        if "code" not in cls.__dict__:  # a group of errors, like RowError
            return
        if cls.code in CATALOGUE:
            raise TypeError(f"{cls.code} already belongs to {CATALOGUE[cls.code]}")
        CATALOGUE[cls.code] = cls

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra
        if (seconds := extra.pop("retry_after_seconds", None)) is not None:
            self.retry_after_seconds = seconds
        if (headers := extra.pop("headers", None)) is not None:
            self.headers = headers

    def problem(self, request_id: str) -> dict[str, Any]:
        """The RFC 9457 document of this failure."""
        return {
            "type": f"https://appstack.dev/errors#{self.code.lower()}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            **self.extra,
        }


class RequestInvalid(ApiError):
    """A parameter or the body is not what the API describes. Correct what the detail names."""

    code, status, title = "REQUEST_INVALID", 400, "The request is not valid"


class NotFound(ApiError):
    """There is nothing under this address. Check the address and the id in it."""

    code, status, title = "NOT_FOUND", 404, "Not found"


class MethodNotAllowed(ApiError):
    """This address does not take that method. The Allow header names those it takes."""

    code, status, title = "METHOD_NOT_ALLOWED", 405, "Method not allowed"


class TokenMissing(ApiError):
    """The request carries no token. Send `Authorization: Bearer TOKEN`."""

    code, status, title = "TOKEN_MISSING", 401, "A token is needed"


class TokenInvalid(ApiError):
    """The token is unknown or revoked. Ask an administrator for a new one."""

    code, status, title = "TOKEN_INVALID", 401, "The token is not valid"


class ScopeMissing(ApiError):
    """The token does not allow this. Use a token with the scope that the detail names."""

    code, status, title = "SCOPE_MISSING", 403, "The token does not allow this"


class RateLimited(ApiError):
    """Too many requests with this token, or unknown tokens from this address. Wait as long as Retry-After says."""

    code, status, title = "RATE_LIMITED", 429, "Too many requests"


class BodyTooSlow(ApiError):
    """The body took too long to arrive. Send the request again, over a better connection if need be."""

    code, status, title = "BODY_TOO_SLOW", 408, "The body was too slow"


class MediaTypeUnsupported(ApiError):
    """The body's Content-Type or Content-Encoding is not supported. The detail names those that are."""

    code, status, title = "MEDIA_TYPE_UNSUPPORTED", 415, "Unsupported media type"


class IdempotencyKeyReused(ApiError):
    """The Idempotency-Key was used with another body. Use a new key for a new body."""

    code, status, title = "IDEMPOTENCY_KEY_REUSED", 422, "The Idempotency-Key belongs to another body"


class IdempotencyKeyBusy(ApiError):
    """A request with this Idempotency-Key is being received right now. Wait for it, or try again later."""

    code, status, title = "IDEMPOTENCY_KEY_BUSY", 409, "This Idempotency-Key is in use right now"
    retry_after_seconds = 5


class UploadsBusy(ApiError):
    """This instance receives as many uploads as it may. Try again shortly."""

    code, status, title = "UPLOADS_BUSY", 503, "Too many uploads at once"
    retry_after_seconds = 2


class ImportFinished(ApiError):
    """The import is finished and can no longer be cancelled."""

    code, status, title = "IMPORT_FINISHED", 409, "The import is finished"


class ImportCancelled(ApiError):
    """The import was cancelled while its body was still arriving. Rows applied before are kept."""

    code, status, title = "IMPORT_CANCELLED", 409, "The import was cancelled"


class ImportTruncated(ApiError):
    """The body, or the gzip stream in it, ended early or came too slowly. The complete rows are kept. Send it again."""

    code, status, title = "IMPORT_TRUNCATED", 422, "The file ended early"


class ImportCompressionInvalid(ApiError):
    """The body is not the gzip stream it claims to be. The complete rows before the damage are kept."""

    code, status, title = "IMPORT_COMPRESSION_INVALID", 422, "The compressed data is damaged"


class ImportHeaderInvalid(ApiError):
    """The first line of a CSV names its columns; a needed one is missing, or one is named twice."""

    code, status, title = "IMPORT_HEADER_INVALID", 422, "The header is not valid"


class ImportChunkFailed(ApiError):
    """A part of the file could not be stored and waits in the dead-letter queue. Tell the operator of the service."""

    code, status, title, log_level = "IMPORT_CHUNK_FAILED", 500, "A part of the import failed", "error"


class RowError(ApiError):
    """A row of an import that cannot become a product; the other rows are kept."""

    status = 422


class ImportRowInvalid(RowError):
    """A value of the row is not allowed. Correct that line and send it again; the other rows are kept."""

    code, title = "IMPORT_ROW_INVALID", "A row is not valid"


class ImportRowMalformed(RowError):
    """The line is not CSV (quotes, number of fields) or not a JSON object. Correct that line and send it again."""

    code, title = "IMPORT_ROW_MALFORMED", "A line cannot be read"


class ImportColumnMissing(RowError):
    """The row lacks a column or its value is empty. Fill it in and send that line again."""

    code, title = "IMPORT_COLUMN_MISSING", "A column is missing"


class ImportNumberInvalid(RowError):
    """A price or quantity is not a number in the allowed form and range. Correct it and send that line again."""

    code, title = "IMPORT_NUMBER_INVALID", "A number is not valid"


class ImportEncodingInvalid(RowError):
    """The line is not valid UTF-8. Save the file as UTF-8 and send that line again."""

    code, title = "IMPORT_ENCODING_INVALID", "A line is not UTF-8"


class ImportLineTooLong(RowError):
    """The line is longer than a product can be; often a quote was never closed. Correct that line."""

    code, title = "IMPORT_LINE_TOO_LONG", "A line is too long"


class ExportNotReady(ApiError):
    """The export has not succeeded (yet), so it has no content. Look at its state."""

    code, status, title = "EXPORT_NOT_READY", 409, "The export has no content yet"
    retry_after_seconds = 1


class ExportNoRoom(ApiError):
    """The database has no room for the file. Tell the operator of the service, or order less: a filter names what."""

    code, status, title, log_level = "EXPORT_NO_ROOM", 507, "There is no room for the file", "error"


class ExportsTooMany(ApiError):
    """The token has as many unfinished exports as it may. Wait until one of them has ended, then order again."""

    code, status, title = "EXPORTS_TOO_MANY", 429, "Too many exports at once"
    retry_after_seconds = 5


class RangeNotSatisfiable(ApiError):
    """The file ends before the Range begins; Content-Range tells its size. There is nothing left to get."""

    code, status, title = "RANGE_NOT_SATISFIABLE", 416, "The file has no such bytes"


class PreconditionFailed(ApiError):
    """The product changed since you read it. Read it again and repeat the change with the new ETag."""

    code, status, title = "PRECONDITION_FAILED", 412, "The product has changed"


class WebhookUrlRefused(ApiError):
    """The subscription's URL is none that webhooks may reach. Use the public http or https address of a server."""

    code, status, title = "WEBHOOK_URL_REFUSED", 422, "The webhook's URL is refused"


class SearchesBusy(ApiError):
    """This instance carries out as many searches as it may, and none has ended for long. Try again shortly."""

    code, status, title = "SEARCHES_BUSY", 503, "Too many searches at once"
    retry_after_seconds = 2


class SubscriptionsTooMany(ApiError):
    """The token has as many subscriptions as it may, disabled ones too. End one that is no longer needed."""

    code, status, title = "SUBSCRIPTIONS_TOO_MANY", 409, "Too many subscriptions"


class DatabaseUnavailable(ApiError):
    """The database cannot be reached just now, for instance during a failover. Try again shortly."""

    code, status, title, log_level = "DATABASE_UNAVAILABLE", 503, "Temporarily unavailable", "warning"
    retry_after_seconds = 2


class ShuttingDown(ApiError):
    """This instance is stopping. Send the request again; another one will take it."""

    code, status, title = "SHUTTING_DOWN", 503, "The instance is stopping"
    retry_after_seconds = 1


class SchemaNotReady(ApiError):
    """The database's schema is older than this version of the service needs. It is being migrated."""

    code, status, title, log_level = "SCHEMA_NOT_READY", 503, "Not ready yet", "warning"
    retry_after_seconds = 5


class InternalError(ApiError):
    """Something failed that should not have. Tell the operator of the service the request id."""

    code, status, title, log_level = "INTERNAL_ERROR", 500, "Internal error", "error"


def catalogue_page() -> str:
    """The Markdown of docs/errors.md: every code, its status, its log level, and what the user can do."""
    lines = [
        "# Errors",
        "",
        "Generated by `appstack-backend errors`; do not edit. Every failure is an RFC 9457",
        "`application/problem+json` document with `code` and `request_id`, which finds its log lines.",
        "Codes of status 422 that start with `IMPORT_` also appear in an import's state and row errors.",
        "An answer with a code is logged as `request failed` at the log level of the code; what only a job tells",
        "is not, but for the message of what failed: `a message is hopeless`. The job's `request_id` finds it.",
        "",
        "| code | status | log level | title | what it means and what to do |",
        "| --- | --- | --- | --- | --- |",
    ]
    for code, error in sorted(CATALOGUE.items()):
        meaning = " ".join((error.__doc__ or "").split())
        name = f"<a id='{code.lower()}'></a>`{code}`"
        lines.append(f"| {name} | {error.status} | {error.log_level} | {error.title} | {meaning} |")
    return "\n".join(lines) + "\n"

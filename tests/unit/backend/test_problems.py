"""Which problems an operation is said to answer with."""

from appstack_backend.errors import CATALOGUE
from appstack_backend.http.openapi import document
from appstack_backend.http.problems import codes_by_status
from appstack_backend.http.routes import OPERATIONS

# Told without any operation, or only in the state of a job and the rows of an import.
OF_NO_OPERATION = {
    *("METHOD_NOT_ALLOWED", "IMPORT_CHUNK_FAILED", "IMPORT_COMPRESSION_INVALID", "IMPORT_HEADER_INVALID"),
    *("IMPORT_COLUMN_MISSING", "IMPORT_ENCODING_INVALID", "IMPORT_LINE_TOO_LONG", "IMPORT_NUMBER_INVALID"),
    *("IMPORT_ROW_INVALID", "IMPORT_ROW_MALFORMED", "EXPORT_NO_ROOM"),
}


def test_every_code_belongs_to_an_operation_or_is_known_to_belong_to_none() -> None:
    told = {code for operation in OPERATIONS for codes in codes_by_status(operation).values() for code in codes}
    assert told | OF_NO_OPERATION == CATALOGUE.keys()
    assert told.isdisjoint(OF_NO_OPERATION)


def test_the_description_lists_the_codes_of_each_status_and_no_others() -> None:
    for operation in OPERATIONS:
        described = document()["paths"][operation.path.replace(":path", "")][operation.method.lower()]["responses"]
        schemas = {
            int(status): answer["content"]["application/problem+json"]["schema"]
            for status, answer in described.items()
            if "application/problem+json" in answer.get("content", {})
        }
        problems = {status: schema["allOf"][1]["properties"]["code"]["enum"] for status, schema in schemas.items()}
        assert problems == codes_by_status(operation)
        assert described.keys() - {str(status) for status in problems} == {
            str(status) for status in (operation.status, *operation.also)
        }
        assert all(CATALOGUE[code].status == status for status, codes in problems.items() for code in codes)


def test_what_an_operation_may_answer_follows_from_what_it_is() -> None:
    by_name = {(operation.method, operation.path): codes_by_status(operation) for operation in OPERATIONS}
    assert by_name["GET", "/livez"] == {500: ["INTERNAL_ERROR"]}
    assert by_name["DELETE", "/v1/imports/{id}"] == {
        401: ["TOKEN_INVALID", "TOKEN_MISSING"],
        403: ["SCOPE_MISSING"],
        404: ["NOT_FOUND"],
        409: ["IMPORT_FINISHED"],
        429: ["RATE_LIMITED"],
        500: ["INTERNAL_ERROR"],
        503: ["DATABASE_UNAVAILABLE", "SCHEMA_NOT_READY"],
    }

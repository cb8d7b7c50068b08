"""A refusal in the words of the rules."""

from __future__ import annotations

import pytest

from appstack_operator.client import ApiError
from appstack_operator.plugin.errors import refusal


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("Invalid value: replicas must be odd", "replicas must be odd"),
        ('Invalid value: "integer": a: b', "a: b"),
        ('Invalid value: "a \\"b\\": c": a sentence', "a sentence"),
        (
            "Invalid value: 7: spec.replicas in body should be less than or equal to 5",
            "spec.replicas in body should be ",
        ),
        ('Invalid value: {"a":"b"}: too many', "too many"),
        ('Unsupported value: "x": supported values: "a"', 'Unsupported value: "x"'),
    ],
)
def test_the_sentence_stands_alone(message: str, sentence: str) -> None:
    told = str(refusal("AppStack shop", ApiError(422, "Invalid", "long", [("spec.a", message)])))
    assert told.startswith(f"AppStack shop is refused by the API server:\n  spec.a: {sentence}")


def test_without_causes_the_message_is_told() -> None:
    assert str(refusal("AppStack shop", ApiError(403, "Forbidden", "not you"))) == "AppStack shop: not you"

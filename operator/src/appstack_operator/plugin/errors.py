"""What a user can get wrong, told so that the next step is clear."""

import re

from appstack_operator.client import ApiError

# What the API server puts before the sentence of a rule: Invalid value: "integer": sentence
PREFIX = re.compile(r'^Invalid value: (?:("(?:[^"\\]|\\.)*"|-?\d+|null|\{.*?\}|\[.*?\]): )?', re.DOTALL)


class UserError(Exception):
    """Ends the command with this message and exit code 1."""


def refusal(what: str, error: ApiError) -> UserError:
    """A refused manifest: each field with its sentence."""
    if not error.causes:
        return UserError(f"{what}: {error.message}")
    lines = sorted({f"  {field or 'manifest'}: {PREFIX.sub('', message)}" for field, message in error.causes})
    return UserError("\n".join([f"{what} is refused by the API server:", *lines]))

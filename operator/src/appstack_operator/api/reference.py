"""The reference of the AppStack API for people, generated from the CRD's schema. Pure."""

import json
from collections.abc import Iterator

from appstack_operator.api.base import GROUP, KIND, VERSION
from appstack_operator.api.crd import Schema, build_schema

HEADER = f"""# The AppStack API
<!-- Generated from operator/src/appstack_operator/api by `make generate`. Do not edit. -->

`apiVersion: {GROUP}/{VERSION}`, `kind: {KIND}`, short name `stack`. `spec: {{}}` is a complete, working stack.
`kubectl explain appstack.spec --recursive` shows the same. What the API server refuses is named under each part:
`kubectl apply` prints that sentence, and nothing changes.
"""
LONGEST_PATTERN = 60


def render_reference() -> str:
    """The whole page."""
    schema = build_schema()
    parts = [HEADER, *rule_lines(schema)]
    for name in ("spec", "status"):
        parts += sections(name, schema["properties"][name])
    return "\n".join(parts).rstrip() + "\n"


def sections(path: str, schema: Schema) -> Iterator[str]:
    """A part of the API and, after it, the parts inside of it."""
    yield f"\n## {path}"
    yield f"{schema.get('description', '')}\n"
    yield from rule_lines(schema)
    yield "| field | type | default | meaning and limits |"
    yield "| --- | --- | --- | --- |"
    required = set(schema.get("required", []))
    for name, part in schema["properties"].items():
        yield f"| `{name}` | {type_of(part)} | {default_of(part, is_required=name in required)} | {meaning_of(part)} |"
    for name, part in schema["properties"].items():
        inner = part.get("items", part)
        if "properties" in inner:
            suffix = "[]" if "items" in part else ""
            yield from sections(f"{path}.{name}{suffix}", inner | {"description": inner.get("description", "")})


def rule_lines(schema: Schema) -> list[str]:
    """The sentences of the rules over a whole part."""
    sentences = [f"- Refused: {rule['message']}" for rule in schema.get("x-kubernetes-validations", [])]
    return [*sentences, ""] if sentences else []


def type_of(schema: Schema) -> str:
    """A field's type in a word or two."""
    if schema.get("x-kubernetes-int-or-string"):
        return "text or number"
    if "items" in schema:
        return f"list of {type_of(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map to {type_of(schema['additionalProperties'])}"
    return {"object": "object", "string": "text", "integer": "number", "boolean": "true, false"}[schema["type"]]


def default_of(schema: Schema, *, is_required: bool) -> str:
    """What holds when the field is left out."""
    if is_required:
        return "**required**"
    return f"`{json.dumps(schema['default'], ensure_ascii=False)}`" if "default" in schema else ""


def meaning_of(schema: Schema) -> str:
    """The description, the limits and the sentences of the field's own rules."""
    words = [schema.get("description", "").replace("\n", " "), *limits_of(schema)]
    if "properties" not in schema:
        messages = [rule["message"] for rule in schema.get("x-kubernetes-validations", [])]
        # One rule for each name of the operator's settings: one sentence says it for all.
        owned = [each for each in messages if "is the operator's: " in each]
        words += [f"Refused: {each}." for each in messages if each not in owned]
        if owned:
            names = ", ".join(f"`{each.split(' ')[0].removeprefix('parameters.')}`" for each in owned)
            words.append(f"Refused, because they are the operator's: {names}.")
    return " ".join(filter(None, words)).replace("|", "\\|")


def limits_of(schema: Schema) -> Iterator[str]:
    """Bounds, choices, lengths and patterns."""
    if choices := schema.get("enum"):
        yield f"One of {', '.join(f'`{choice}`' for choice in choices)}."
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        yield f"{low} to {high}."
    elif low is not None:
        yield f"At least {low}."
    if "maxLength" in schema:
        yield f"At most {schema['maxLength']} characters."
    if "maxItems" in schema:
        yield f"At most {schema['maxItems']}."
    if "maxProperties" in schema:
        yield f"At most {schema['maxProperties']}."
    pattern = schema.get("pattern", "")
    if pattern and len(pattern) <= LONGEST_PATTERN:
        yield f"Matches `{pattern}`."

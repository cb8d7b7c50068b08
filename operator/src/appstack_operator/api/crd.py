"""The CustomResourceDefinition, generated from the models: the structural schema that Kubernetes wants."""

from typing import Any

import yaml

from appstack_operator.api.base import GROUP, KIND, PLURAL, VERSION
from appstack_operator.api.stack import AppStack

Schema = dict[str, Any]

NAME_RULES = [
    {
        "rule": "self.metadata.name.size() <= 30",
        "message": "the name of an AppStack has at most 30 characters: the names of its children grow from it",
    },
    {
        "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "the name of an AppStack is a DNS label: a lower-case letter, then letters, digits, dashes; no dots",
    },
]
HEADER = "# Generated from operator/src/appstack_operator/api by `make generate`. Do not edit.\n"


def condition_column(name: str, condition: str, field: str) -> Schema:
    """A column of `kubectl get` that shows a field of a condition."""
    return {"name": name, "type": "string", "jsonPath": f'.status.conditions[?(@.type=="{condition}")].{field}'}


COLUMNS = [
    condition_column("Ready", "Ready", "status"),
    condition_column("HA", "HighlyAvailable", "status"),
    {"name": "Reason", "type": "string", "jsonPath": ".status.summary.reason"},
    {"name": "Primary", "type": "string", "jsonPath": ".status.postgres.primary"},
    {"name": "API", "type": "string", "jsonPath": ".status.summary.api"},
    {"name": "Workers", "type": "string", "jsonPath": ".status.summary.workers"},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {"name": "Message", "type": "string", "jsonPath": ".status.summary.message", "priority": 1},
]


def inlined(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema without $ref, and without the null that pydantic adds for optional fields."""
    schema = dict(schema)
    if ref := schema.pop("$ref", None):
        # What stands beside a $ref is about this use of the type, so it wins.
        schema = {**definitions[ref.rsplit("/", 1)[-1]], **schema}
        return inlined(schema, definitions)
    if choices := schema.pop("anyOf", None):
        (only,) = [choice for choice in choices if choice.get("type") != "null"]
        return inlined({**only, **schema}, definitions)
    return schema


def structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema in the form that the API server accepts: no title, no null, defaults from the inside."""
    schema = inlined(schema, definitions)
    schema.pop("title", None)
    if "properties" in schema:
        schema["properties"] = {name: structural(part, definitions) for name, part in schema["properties"].items()}
    if "items" in schema:
        schema["items"] = structural(schema["items"], definitions)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.pop("additionalProperties", None)
    elif "additionalProperties" in schema:
        schema["additionalProperties"] = structural(schema["additionalProperties"], definitions)
    if schema.get("x-kubernetes-int-or-string"):
        schema = {key: value for key, value in schema.items() if key not in ("type", "maxLength")}
    if (bound := schema.pop("exclusiveMinimum", None)) is not None:
        schema |= {"minimum": bound, "exclusiveMinimum": True}
    if "default" in schema:
        if schema["default"] is None:
            del schema["default"]
        elif "properties" in schema:
            schema["default"] = {}  # the API server fills in the defaults of the parts
    return schema


def build_schema() -> Schema:
    """The schema of a whole AppStack.

    Its status has a default, too: a stack that nobody has looked at is of generation 0, where kstatus (Flux) takes one
    without any status for complete.
    """
    generated = AppStack.model_json_schema(by_alias=True)
    definitions = generated["$defs"]
    spec, status = (structural(generated["properties"][part], definitions) for part in ("spec", "status"))
    return {
        "type": "object",
        "description": AppStack.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        "x-kubernetes-validations": NAME_RULES,
    }


def build_crd() -> Schema:
    """The CustomResourceDefinition of AppStack."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": build_schema()},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.backend.api.replicas",
                "statusReplicasPath": ".status.api.replicas",
                "labelSelectorPath": ".status.api.selector",
            },
        },
        "additionalPrinterColumns": COLUMNS,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["stack"],
            },
            "versions": [version],
        },
    }


class Dumper(yaml.SafeDumper):
    """Writes every object in full: YAML anchors are unreadable in a manifest."""

    def ignore_aliases(self, data: object) -> bool:
        """Never use an anchor."""
        return True


def render_crd() -> str:
    """The CRD as the YAML file that is committed."""
    return HEADER + yaml.dump(build_crd(), Dumper=Dumper, sort_keys=False, width=110, allow_unicode=True)


if __name__ == "__main__":
    print(render_crd(), end="")

"""The base of every model of the AppStack API and the hints that api/crd.py reads from it."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

GROUP = "appstack.dev"
VERSION = "v1alpha1"
KIND = "AppStack"
PLURAL = "appstacks"

# A resource quantity as people write it: 10Gi, 500m, 0.5, 1e3.
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|[MGTPE]i?|[eE][0-9]+)?$"
DNS_LABEL = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"


class ApiModel(BaseModel):
    """camelCase outside, snake_case inside; unknown fields are the API server's business (it prunes them)."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", validate_default=True
    )

    def manifest(self) -> dict[str, Any]:
        """As it stands in a manifest: what was left out is left out."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """CEL rules for the schema of a field or a model: (rule, the sentence that a refused user reads)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}

"""Configuration files of PostgreSQL, Redis and RabbitMQ as Jinja2 templates: the only objects made as text."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

ENVIRONMENT = Environment(
    loader=PackageLoader("appstack_operator.desired", "templates"),
    undefined=StrictUndefined,  # a forgotten value is an error, not an empty setting
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,  # the files are part of the package: no look at the disk in each pass
    autoescape=False,  # noqa: S701 - configuration files, not HTML
)


def render(template: str, **values: Any) -> str:
    """The text of one configuration file."""
    return ENVIRONMENT.get_template(template).render(**values)

"""Reads the AppStacks of files and of standard input."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml

from appstack_operator.api.base import KIND
from appstack_operator.objects import API_VERSION, Object
from appstack_operator.plugin.errors import UserError


def read_stacks(files: Sequence[str], stdin: TextIO) -> tuple[list[Object], list[str]]:
    """The AppStacks of all files in their order, and the names of the other objects, which are not looked at."""
    documents = [(name, document) for name in files for document in read(name, stdin)]
    stacks, others = [], []
    for name, document in documents:
        if document.get("kind") == KIND:
            stacks.append(checked(name, document))
        else:
            meta = document.get("metadata")
            others.append(f"{document.get('kind')} {meta.get('name', '') if isinstance(meta, dict) else ''}".strip())
    if not stacks:
        found = f"; it holds {', '.join(others)}" if others else ""
        raise UserError(f"{', '.join(files)}: no AppStack in it{found}")
    return stacks, others


def read(name: str, stdin: TextIO) -> Iterator[Object]:
    """The objects of one file; lists are taken apart."""
    where = "standard input" if name == "-" else name
    try:
        text = stdin.read() if name == "-" else Path(name).read_text()
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not valid YAML: {error}") from error
    yield from objects_of(documents, where)


def objects_of(documents: Any, where: str) -> Iterator[Object]:
    """The objects of documents, and of lists among them."""
    for document in documents if isinstance(documents, list) else [documents]:
        if not isinstance(document, dict) or "kind" not in document:
            raise UserError(f"{where}: not a Kubernetes object: it needs apiVersion, kind, metadata")
        if document["kind"] == "List":
            yield from objects_of(document.get("items") or [], where)
        else:
            yield document


def checked(name: str, document: Object) -> Object:
    """An AppStack that has a version that we know, and a name."""
    where = "standard input" if name == "-" else name
    if document.get("apiVersion") != API_VERSION:
        raise UserError(f"{where}: apiVersion is {document.get('apiVersion')}; it must be {API_VERSION}")
    meta = document.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str):
        raise UserError(f"{where}: metadata.name is missing")
    spec = document.get("spec")
    if spec is None:  # all of it commented out: the API server takes it for an empty one
        return {key: value for key, value in document.items() if key != "spec"}
    if not isinstance(spec, dict):
        raise UserError(f"{where}: spec must be a map; an empty one is {{}}")
    return document


def namespace_of(manifest: Object, chosen: str | None, default: str) -> str:
    """The manifest's namespace, the chosen one, or that of the context; the first two must agree."""
    own = manifest["metadata"].get("namespace")
    if own and chosen and own != chosen:
        raise UserError(f"AppStack {manifest['metadata']['name']} is for namespace {own}, and -n says {chosen}")
    return str(own or chosen or default)

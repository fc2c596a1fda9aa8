"""/openapi.json: what FastAPI knows of our routes, joined to what operations.py says of them.

Owns: how the document is put together. Paths, query parameters and sentences are FastAPI's, from the handlers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from catalyst_signals.errors import every_error
from catalyst_signals.server import answers
from catalyst_signals.server.operations import (
    DRAFT,
    HEADERS,
    JSON,
    OPERATIONS,
    PLACES,
    QUERIES,
    TEXT,
    Operation,
    Schema,
)

REASONS = {
    200: "Done.", 201: "It is new.", 202: "It is under way, or asks to be confirmed.", 304: "It is as it was.",
    400: "It cannot be understood.", 401: "A valid key is needed.", 403: "This key may not do that.",
    404: "It is not there, or not to be seen.", 408: "The body took too long.",
    409: "It conflicts with what is stored.", 410: "It was dropped by retention.", 413: "It is too large.",
    429: "Too many; wait `retry_after_s`.", 503: "Not now: try again if `retry` says so.",
    507: "The disk of the store is full.",
}  # fmt: skip


def describe(app: FastAPI) -> None:
    """From now on `app.openapi()` says everything there is to say of its routes, made once."""

    def openapi() -> Schema:
        if not app.openapi_schema:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> Schema:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    refs = _References()
    refs.schemas["Draft"] = DRAFT
    for method, path, operation in operations_of(document):
        known = OPERATIONS.get(f"{method} {path}")
        if known is not None:
            _complete(operation, known, refs, in_path="{" in path, writes=method != "GET")
    refusals = {str(status): _answer(status, answers.Error, refs) for status in REASONS if status >= 400}
    refs.schemas["Error"]["properties"]["error"] = {"enum": sorted({each.name for each in every_error()})}
    document["components"] = {
        "schemas": dict(sorted(refs.schemas.items())),
        "responses": refusals,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "`cat_...`"}},
    }
    return document


def operations_of(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Every operation of a document: its method in capitals, its path, and what is said of it."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


class _References:
    """The components of a document, collected as they are referred to; no two have one name."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def __call__(self, shape: Any) -> Schema:
        (schema,), components = msgspec.json.schema_components([shape], ref_template="#/components/schemas/{name}")
        for name, each in components.items():
            if self.schemas.setdefault(name, each) != each:
                raise ValueError(f"two shapes of the document are called {name}: give one another name")
        return schema


def _complete(operation: Schema, known: Operation, refs: _References, *, in_path: bool, writes: bool) -> None:
    operation["parameters"] = [_parameter(each) for each in operation.get("parameters", [])]
    operation["parameters"] += [_named("header", name, says) for name, says in HEADERS.items() if name in known.headers]
    operation["parameters"] += [_named("query", name, says) for name, says in QUERIES.items() if name in known.queries]
    if known.body is not None:
        operation["requestBody"] = _body(known, refs)
    if known.scope:
        operation["security"] = [{"key": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nScope: `{known.scope}`."
    elif 401 in known.also and not in_path:
        operation["security"] = [{}, {"key": []}]
    refused = _refused(operation, known, in_path=in_path, writes=writes)
    operation["responses"] = {
        str(status): _answer(status, known.answers[status], refs)
        if status in known.answers
        else {"$ref": f"#/components/responses/{status}"}
        for status in sorted(refused | set(known.answers))
    }


def _body(known: Operation, refs: _References) -> Schema:
    content = known.body if isinstance(known.body, dict) else {JSON: refs(known.body)}
    media = {name: {"schema": schema} for name, schema in content.items()}
    if known.example is not None:
        media[next(iter(media))]["example"] = known.example
    return {"required": not known.optional, "content": media}


def _refused(operation: Schema, known: Operation, *, in_path: bool, writes: bool) -> set[int]:
    """The statuses with which a request of its kind may be refused."""
    found = set(known.also)
    if known.scope or known.body is not None:
        found |= {429, 503}
    if known.scope:
        found |= {401, 403}
    if in_path:
        found |= {400, 404}
    if operation["parameters"]:
        found.add(400)
    if known.body is not None:
        found |= {400, 408, 413}
    if writes:
        found |= {409, 507}
    return found


def _parameter(found: Schema) -> Schema:
    """A parameter of FastAPI's, with what is asked of it; there is no null in a URL."""
    asked = PLACES.get(found["name"], TEXT)
    schema = {"default": found["schema"]["default"]} if found["schema"].get("default") is not None else {}
    least = {"minLength": 1} if found["in"] == "path" and asked is TEXT else {}
    return {"name": found["name"], "in": found["in"], "required": found["required"], "schema": asked | least | schema}


def _named(place: str, name: str, says: str) -> Schema:
    return {"name": name, "in": place, "required": False, "description": says, "schema": TEXT}


def _answer(status: int, shape: Any, refs: _References) -> Schema:
    answer: Schema = {"description": REASONS[status]}
    if isinstance(shape, dict):
        answer["content"] = {media: {"schema": schema} for media, schema in shape.items()}
    elif shape is not None:
        schema = {"anyOf": [refs(each) for each in shape.__args__]} if hasattr(shape, "__args__") else refs(shape)
        answer["content"] = {JSON: {"schema": schema}}
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"schema": TEXT, "description": "Seconds."}}
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": TEXT}}
    return answer

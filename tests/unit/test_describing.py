"""/openapi.json and /docs: every route is described, in the very words its handler takes, and nobody else is told.

Covers `catalyst_signals.server.describing`, `catalyst_signals.server.operations`, `catalyst_signals.server.answers` and
`catalyst_signals.server.showing`. What a real server answers is held against it in tests/server/test_openapi.py.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI

from catalyst_signals.server import app as root
from catalyst_signals.server.describing import REASONS, describe, operations_of
from catalyst_signals.server.operations import OPERATIONS
from catalyst_signals.server.showing import page


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = FastAPI(title="Catalyst", version="1", description="Signals.")
    for part in root.ROUTERS:
        app.include_router(part.router)
    describe(app)
    return app.openapi()


def test_every_route_is_described_and_no_other(document: dict[str, Any]) -> None:
    """Who adds a route adds it to `catalyst_signals.server.operations`."""
    assert {f"{method} {path}" for method, path, _ in operations_of(document)} == set(OPERATIONS)


def test_a_body_is_described_by_what_decodes_it_and_its_example_fits(document: dict[str, Any]) -> None:
    for asked, known in OPERATIONS.items():
        if isinstance(known.body, type):
            method, path = asked.split()
            body = document["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]
            assert body["schema"] == {"$ref": f"#/components/schemas/{known.body.__name__}"}
            msgspec.convert(body["example"], known.body)


def test_what_needs_a_key_says_so_and_every_refusal_is_one_object(document: dict[str, Any]) -> None:
    for method, path, operation in operations_of(document):
        needs = OPERATIONS[f"{method} {path}"].scope
        assert ("401" in operation["responses"] and operation.get("security") == [{"key": []}]) == bool(needs), path
    for status, answer in document["components"]["responses"].items():
        assert answer["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        assert int(status) in REASONS


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for place, name in set(re.findall(r"#/components/(\w+)/(\w+)", msgspec.json.encode(document).decode())):
        assert name in document["components"][place]


def test_the_page_shows_every_route_and_asks_nobody_else_for_anything(document: dict[str, Any]) -> None:
    """It works without the internet, and tells no third party who looks at it."""
    html = page(document)
    for asked in OPERATIONS:
        method, path = asked.split()
        assert f'<b class="{method.lower()}">{method.lower()}</b> <code>{path}</code>' in html
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(", html)


def test_nothing_in_the_page_is_taken_for_html() -> None:
    """A description is text, also where it holds `<`."""
    answer = {"200": {"description": "<script>alert(1)</script>"}}
    operation = {"summary": "<b>", "description": "a < b `c<d`", "tags": ["x"], "responses": answer}
    html = page({"info": {"title": "<T>", "version": "1"}, "paths": {"/a": {"get": operation}}, "components": {}})
    assert "<script" not in html and "<T>" not in html and "a &lt; b <code>c&lt;d</code>" in html

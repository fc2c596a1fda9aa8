"""`GET /docs`: the OpenAPI document as one page that a person can read.

Owns: how it looks. Law: the page is whole by itself, without scripts and without anything from elsewhere, so it works
offline and tells nobody who reads it; every text of the document is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from catalyst_signals.server.describing import operations_of

Schema = dict[str, Any]

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
ABOUT = {
    "signals": "Publish, read, change, end; who got them, and what was done.",
    "channels": "The logs that signals stand in.",
    "filters": "What a filter means, why it matched, what it would have sent, and those saved by name.",
    "access": "Keys, users, and moving the log. For admins.",
    "ingest": "Where webhooks come in, in the senders' own words.",
    "targets": "Where signals go outside.",
    "watch": "What an admin has stopped, and why.",
    "status": "Alive, ready, and in numbers.",
}
STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #60646c; --line: #e0e3e8; --paper: #fff; --shade: #f6f7f9;
  --get: #0b68cb; --post: #18794e; --put: #a15c00; --patch: #a15c00; --delete: #c62a2f; }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef0; --dim: #9ba1a8; --line: #2f3439; --paper: #131517;
  --shade: #1b1e21; --get: #70b8ff; --post: #5bc58d; --put: #f5b14c; --patch: #f5b14c; --delete: #ff8b87; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 2.5rem 1.25rem 6rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.75rem; margin: 0 } h1 small { color: var(--dim); font-size: 1rem; font-weight: 400 }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .25rem } h2 + p { margin: 0 0 .75rem; color: var(--dim) }
h3 { font-size: .8125rem; color: var(--dim); margin: 1.1rem 0 .3rem; font-weight: 600 }
code, pre { font: .875rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace }
pre { background: var(--shade); border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem; margin: 0;
  overflow-x: auto }
a { color: var(--get); text-decoration: none } a:hover { text-decoration: underline }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; margin: 1rem 0 0 }
details { border: 1px solid var(--line); border-bottom-width: 0 } details > :not(summary) { margin-inline: 1rem }
details:first-of-type { border-radius: 8px 8px 0 0 }
details:last-of-type { border-bottom-width: 1px; border-radius: 0 0 8px 8px }
details[open] { padding-bottom: 1.2rem }
summary { display: grid; grid-template-columns: 4.5rem minmax(0, 1fr) minmax(0, 14rem); gap: .75rem; cursor: pointer;
  padding: .55rem 1rem; align-items: baseline; list-style: none }
summary:hover, details[open] > summary { background: var(--shade) }
summary b { font-size: .8125rem; text-transform: uppercase; letter-spacing: .03em }
summary span { font-family: inherit; color: var(--dim); font-size: .875rem; text-align: right }
.get { color: var(--get) } .post { color: var(--post) }
.put, .patch { color: var(--put) } .delete { color: var(--delete) }
table { border-collapse: collapse; width: calc(100% - 2rem) } th, td { text-align: left; vertical-align: top;
  padding: .25rem .9rem .25rem 0; border-top: 1px solid var(--line); font-weight: 400 } tr:first-child > * { border: 0 }
th { white-space: nowrap; width: 1% } td { color: var(--dim) } td:nth-child(2) { color: var(--ink) }
.shape { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; margin: .75rem 0 }
.shape table { width: 100% } .shape p { margin: 0 0 .4rem; color: var(--dim) }
.shape:target { border-color: var(--get) }
@media (max-width: 40rem) { summary { grid-template-columns: 4.5rem minmax(0, 1fr) } summary span { display: none } }
"""

router = APIRouter()


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Every route, for people."""
    state = request.app.state
    if getattr(state, "docs_page", None) is None:
        state.docs_page = page(request.app.openapi())
    return HTMLResponse(state.docs_page, headers=HEADERS)


def page(document: Schema) -> str:
    """The document as HTML."""
    info, groups = document["info"], _by_tag(document)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(info["title"])}'
    links = "".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in groups)
    parts = [
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
        _text(info.get("description", "")),
        "<p>Send <code>Authorization: Bearer cat_...</code>. The same for programs: "
        '<a href="/openapi.json">openapi.json</a>.</p>',
        f'<nav>{links}<a href="#shapes">shapes</a></nav>',
        *(_group(tag, operations) for tag, operations in groups.items()),
        '<h2 id="shapes">Shapes</h2><p>Fields are added, never renamed; <code>?</code> marks what may be left out.</p>',
        *(_shape(name, schema) for name, schema in document["components"].get("schemas", {}).items()),
    ]
    return f'<!doctype html><html lang="en">{head}</title><style>{STYLE}</style><body>{"".join(parts)}</body></html>'


def _by_tag(document: Schema) -> dict[str, list[tuple[str, str, Schema]]]:
    """The operations under their tags, in the order in which a reader needs them."""
    groups: dict[str, list[tuple[str, str, Schema]]] = {tag: [] for tag in ABOUT}
    for method, path, operation in operations_of(document):
        groups.setdefault(operation["tags"][0], []).append((method.lower(), path, operation))
    return {tag: sorted(found, key=lambda each: each[1]) for tag, found in groups.items() if found}


def _group(tag: str, operations: Iterable[tuple[str, str, Schema]]) -> str:
    shown = "".join(_operation(*each) for each in operations)
    head = f'<h2 id="{escape(tag)}">{escape(tag.capitalize())}</h2>'
    return f"{head}<p>{escape(ABOUT.get(tag, ''))}</p><div>{shown}</div>"


def _operation(method: str, path: str, operation: Schema) -> str:
    summary = f'<b class="{method}">{method}</b> <code>{escape(path)}</code>'
    parts = [_text(operation.get("description", ""))]
    if operation.get("parameters"):
        parts.append(f"<h3>Parameters</h3>{_table(map(_parameter, operation['parameters']))}")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<h3>Body, {escape(media)}</h3><p>{_type(content['schema'])}</p>")
        if "example" in content:
            parts.append(f"<pre>{escape(json.dumps(content['example'], indent=2))}</pre>")
    parts.append(f"<h3>Answers</h3>{_table(_answers(operation['responses']))}")
    about = f"<span>{escape(operation.get('summary', ''))}</span>"
    return f"<details><summary>{summary}{about}</summary>{''.join(parts)}</details>"


def _parameter(found: Schema) -> tuple[str, str, str]:
    mark = "" if found.get("required") else "?"
    return f"<code>{escape(found['name'])}{mark}</code>", _type(found["schema"]), _inline(found.get("description", ""))


def _answers(responses: Schema) -> Iterable[tuple[str, str, str]]:
    """Each that is not a refusal by itself; of those, which there are."""
    for status, answer in responses.items():
        if "$ref" not in answer:
            shapes = " ".join(_type(each["schema"]) for each in answer.get("content", {}).values())
            yield status, shapes, _inline(answer["description"])
    refused = [status for status, answer in responses.items() if "$ref" in answer]
    if refused:
        yield "refused", _type({"$ref": "#/components/schemas/Error"}), f"With {', '.join(refused)}."


def _shape(name: str, schema: Schema) -> str:
    needed = schema.get("required", ())
    rows = [
        (f"<code>{escape(field)}{'' if field in needed else '?'}</code>", _type(each), _default(each))
        for field, each in schema.get("properties", {}).items()
    ]
    about = _text(schema.get("description", ""))
    return f'<div class="shape" id="{escape(name)}"><code>{escape(name)}</code>{about}{_table(rows)}</div>'


def _default(schema: Schema) -> str:
    given = schema.get("default")
    return "" if given is None else f"default <code>{escape(json.dumps(given))}</code>"


def _type(schema: Schema) -> str:
    """What a value is, in a few words; a shape of ours is a link to it."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for several in ("anyOf", "oneOf"):
        if several in schema and "type" not in schema:
            return " or ".join(dict.fromkeys(map(_type, schema[several])))
    if "enum" in schema:
        return " ".join(f"<code>{escape(str(each))}</code>" for each in schema["enum"])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(map(escape, kind))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    of = schema.get("additionalProperties")
    if isinstance(of, dict) and of:
        return f"object of {_type(of)}"
    return escape(str(schema.get("title", kind))) + _bounds(schema)


def _bounds(schema: Schema) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None:
        return f", <code>{escape(schema['pattern'])}</code>" if "pattern" in schema else ""
    return f", {least} up" if most is None else f", {least} to {most}"


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    return f"<table>{''.join(f'<tr><th>{a}</th><td>{b}</td><td>{c}</td></tr>' for a, b, c in rows)}</table>"


def _text(text: str) -> str:
    """Paragraphs."""
    return "".join(f"<p>{_inline(part)}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    """One line of text; what stands between backticks is code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))

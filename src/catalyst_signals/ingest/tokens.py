"""Tokens that a sender puts into the body: 3Commas' `secret`, Altrady's `api_key`, PineConnector's licence id.

Owns: where a body says one, and how one is spelt there. Knows nothing of which tokens are right, nor of adapters.
Law: a body of several messages must say it in each of them; one that does not say it once says nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from catalyst_signals.errors import InvalidJson
from catalyst_signals.signals import decode

_LICENCE = re.compile(r"licen[sc]e_?(?:id)?", re.IGNORECASE)
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BLANK = b"***"


def tokens_in(raw: bytes, field: str) -> list[str | None]:
    """What each message of a body says under `field` (`a.b` is `b` inside `a`); None where one does not say it."""
    text = raw.decode("utf-8-sig", errors="replace").strip()
    if text.startswith(("{", "[")):
        return _in_json(text, field)
    if "&" in text and "\n" not in text:
        return [value for name, value in parse_qsl(text) if name == field]
    found = re.findall(rf"(?:^|[\s;,]){re.escape(field)}\s*[=:]\s*\"?([^\s;,\"]+)", text, re.IGNORECASE)
    if found or _LICENCE.fullmatch(field) is None:
        return list(found)
    return [line.partition(",")[0].strip() or None for line in text.splitlines() if line.strip()]


def without_token(raw: bytes, token: str) -> bytes:
    """The body with the token blanked, however it is spelt: plainly, with escapes, as in a form, or as a number."""
    plain = re.escape(token.encode())
    if token.isdigit():  # A number becomes a text, so that the rest is JSON still, and a longer one stays.
        plain = rb"(?<![\d.])%s(?![\d.])" % plain
        raw = re.sub(rb"(:\s*)%s(?=\s*[,}\]])" % plain, rb'\1"***"', raw)
    raw = re.sub(plain, _BLANK, raw)
    raw = _QUOTED.sub(lambda found: _without_escapes(found[0], token), raw)
    if b"=" in raw and (b"%" in raw or b"+" in raw):
        raw = b"&".join(_without_percents(each, token) for each in raw.split(b"&"))
    return raw


def _without_escapes(literal: bytes, token: str) -> bytes:
    try:
        text = json.loads(literal, strict=False) if b"\\" in literal else ""
    except ValueError:
        return literal
    return json.dumps(text.replace(token, _BLANK.decode())).encode() if token in text else literal


def _without_percents(pair: bytes, token: str) -> bytes:
    name, equals, value = pair.partition(b"=")
    return name + equals + _BLANK if token in unquote_plus(value.decode(errors="replace")) else pair


def _in_json(text: str, field: str) -> list[str | None]:
    try:
        content = decode(text)
    except InvalidJson:
        return []
    return [_inside(each, field) for each in (content if isinstance(content, list) else [content])]


def _inside(content: Any, field: str) -> str | None:
    for name in field.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    if isinstance(content, int) and not isinstance(content, bool):
        return str(content)
    return content if isinstance(content, str) else None

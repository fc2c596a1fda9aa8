"""JSON lines: one piece of news a line, from a program of one's own.

Owns: that plain form. Law: all lines are taken or none, and the one that cannot be read is named by its number. The
key of a line is its `id`; else its address and title, as a feed's (rss.py); else the line itself.

    {"title": "ACME wins contract", "url": "https://example.com/1", "symbol": "ACME", "text": "..."}
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, ClassVar

import msgspec

from catalyst_signals.errors import InvalidDraft, InvalidRequest
from catalyst_signals.events import check_id, iso
from catalyst_signals.ingest import Reading, decode_once, without_secrets
from catalyst_signals.ingest.entries import ENTRIES_MAX, TAGS_MAX, excerpt_of, of_instruments
from catalyst_signals.ingest.markup import decoded
from catalyst_signals.ingest.plans import instrument_of
from catalyst_signals.kinds import TEXT_CHARS_MAX, as_time, shown
from catalyst_signals.stories import plain_title, plain_url

_SOURCE = {
    "source": "name", "kind": "kind", "url": "url", "link": "url", "external_id": "external_id", "guid": "external_id",
}  # fmt: skip
_TITLES = ("title", "headline")
_TEXTS = ("text", "body", "summary", "description", "content", "excerpt")
_TIMES = ("published_at", "published", "created_at", "date", "time")
_SYMBOLS = ("symbols", "tickers", "symbol", "ticker")


class JsonLines:
    """News as JSON, one object a line."""

    name = "jsonl"
    PASTE: ClassVar[str] = """\
Post it:

  curl --data-binary @news.jsonl {url}

or pipe it:

  your-program | catalyst ingest jsonl --to {url}
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The items of the lines, in order; empty lines are passed over.

        Raises:
            InvalidDraft: a line is not one JSON object with a title or a text; says which line.
        """
        lines = [(n, line) for n, line in enumerate(decoded(raw).split("\n"), 1) if line.strip()]
        if len(lines) > ENTRIES_MAX:
            raise InvalidDraft(f"{ENTRIES_MAX} lines at once, no more", got=len(lines), allowed=ENTRIES_MAX)
        items = [_item_of(n, line.strip()) for n, line in lines]
        return Reading(drafts=[], items=list({item["id"]: item for item in items}.values()))


def _item_of(number: int, line: str) -> dict[str, Any]:
    try:
        return _sorted(_object(line))
    except InvalidRequest as fault:
        text = f"line {number}: {fault.message}"
        raise InvalidDraft(text, field=fault.field, got=fault.got, allowed=fault.allowed, line=number) from None


def _object(line: str) -> dict[str, Any]:
    content = without_secrets(decode_once(line))
    if not isinstance(content, dict):
        text = f"one JSON object a line, got {shown(content)}"
        raise InvalidDraft(text, got=shown(content), allowed='{"title": "..."}')
    return content


def _sorted(content: dict[str, Any]) -> dict[str, Any]:
    """The item that a line says: what is not understood is kept under `extras`."""
    rest = dict(content)
    own = rest.pop("id", None)
    texts = _taken(rest, _TEXTS)
    title = next(iter(_taken(rest, _TITLES) or texts), "")
    if not title:
        text = "there is neither a `title` nor a `text`"
        raise InvalidDraft(text, field="title", got=shown(content), allowed='{"title": "..."}')
    source = _source_of(rest) | ({"title": title[:TEXT_CHARS_MAX], "excerpt": excerpt_of(texts[0])} if texts else {})
    item = {"id": _key(own, source.get("url", ""), title, content), "title": title[:TEXT_CHARS_MAX], "source": source}
    item |= of_instruments(_instruments_of(rest)) | _labels(rest)
    extras = rest.pop("extras", {})
    kept = rest | (extras if isinstance(extras, dict) else {"extras": extras})
    return item | ({"extras": kept} if kept else {})


def _taken(rest: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """The texts under these names, on one line each, which are no longer in `rest`."""
    found = [" ".join(value.split()) for name in names if isinstance(value := rest.get(name), str)]
    for name in names:
        if isinstance(rest.get(name), str):
            del rest[name]
    return [text for text in found if text]


def _source_of(rest: dict[str, Any]) -> dict[str, str]:
    said = rest.pop("source") if isinstance(rest.get("source"), dict) else {}
    source = {name: said.pop(name)[:TEXT_CHARS_MAX] for name in [*said] if isinstance(said[name], str)}
    if said:
        rest["source"] = said
    for name, part in _SOURCE.items():
        if isinstance(rest.get(name), str) and part not in source:
            source[part] = rest.pop(name)[:TEXT_CHARS_MAX]
    for name in _TIMES:
        moment = as_time(rest[name]) if isinstance(rest.get(name), str) else None
        if moment is not None and "published_at" not in source:
            source["published_at"] = iso(int(moment.timestamp() * 1_000_000))
            del rest[name]
    return {"name": "jsonl", "kind": "news"} | source


def _instruments_of(rest: dict[str, Any]) -> list[dict[str, str]]:
    said: Any = next((rest[name] for name in _SYMBOLS if rest.get(name)), [])
    symbols = said if isinstance(said, list) else [said]
    if not symbols or not all(isinstance(symbol, str) and symbol.strip() for symbol in symbols):
        return []
    for name in _SYMBOLS:
        rest.pop(name, None)
    return [instrument_of(symbol) for symbol in symbols[:TAGS_MAX]]


def _labels(rest: dict[str, Any]) -> dict[str, Any]:
    """`tags`, `lang` and `catalyst` where they are what they are elsewhere."""
    labels: dict[str, Any] = {}
    tags = rest.get("tags")
    if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        labels["tags"] = [tag[:64] for tag in rest.pop("tags")[:TAGS_MAX]]
    if isinstance(rest.get("lang"), str):
        labels["lang"] = rest.pop("lang")[:16].lower()
    said = rest.get("catalyst")
    if isinstance(said, dict) and said and all(isinstance(value, str) for value in said.values()):
        labels["catalyst"] = rest.pop("catalyst")
    return labels


def _key(own: object, url: str, title: str, content: dict[str, Any]) -> str:
    if isinstance(own, str | int) and not isinstance(own, bool) and own != "":
        return check_id(str(own))
    said = f"{plain_url(url)} {plain_title(title)}".encode() if url else msgspec.json.encode(content, order="sorted")
    return sha256(said).hexdigest()[:32]

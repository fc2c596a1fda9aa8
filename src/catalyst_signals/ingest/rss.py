"""News feeds: RSS 0.9x, 1.0 (RDF) and 2.0, and Atom, as agencies really publish them.

Owns: where each of them keeps a title, an address, a date. What XML and HTML are is in markup.py.
Law: one entry is one item and says nothing about buying or selling. Its key is its address without what only tracks a
reader, and its title: an entry that is corrected in its text is the same item, one with another title is a new one.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest import Reading
from catalyst_signals.ingest.entries import TAGS_MAX, entries_of, excerpt_of, link_of, of_instruments
from catalyst_signals.ingest.markup import decoded, local, moment_of, parsed, text_under, under, words_of
from catalyst_signals.kinds import TEXT_CHARS_MAX
from catalyst_signals.stories import plain_title, plain_url

_ROOTS = ("rss", "rdf", "feed", "channel")
_TICKER = re.compile(
    r"\((?:(?:NYSE(?: ?American| ?Arca| ?MKT)?|NASDAQ(?:[ -]?[GC][MS])?|AMEX|CBOE|OTC(?:QB|QX|BB)?|TSXV?|LSE|ASX|CSE"
    r"|Euronext|FRA)\s*:\s*)([A-Z][A-Z0-9.-]{0,9})(?=[\s;,)])",
    re.IGNORECASE,
)
_VENUE = re.compile(r"\(\s*([A-Za-z]+)")


class Rss:
    """A feed of news, of any of its kinds."""

    name = "rss"
    PASTE: ClassVar[str] = """\
Catalyst reads a feed by itself:

  catalyst ingest add rss --pull https://news.example.com/feed.xml --every 60

or post one:

  curl --data-binary @feed.xml {url}
"""

    def read(self, raw: bytes, content_type: str) -> Reading:
        """The entries of a feed, the oldest first: feeds have the newest on top.

        Raises:
            InvalidDraft: it is no feed; says what it is.
        """
        root = parsed(decoded(raw))
        if local(root) not in _ROOTS:
            text = f"this is no RSS or Atom feed: its first element is <{local(root)[:40]}>"
            raise InvalidDraft(text, field="feed", got=local(root)[:40], allowed=list(_ROOTS))
        feed = next(under(root, "channel"), root)
        found = [item_of(entry, feed) for entry in entries_of(root, feed)]
        items = [item for item in found if item is not None]
        return Reading(drafts=[], items=list({item["id"]: item for item in reversed(items)}.values()))


def item_of(entry: Element, feed: Element) -> dict[str, Any] | None:
    """One entry as an item; None if it has neither a title nor a text nor an address."""
    body = text_under(entry, "description", "summary", "content", "encoded")
    title = text_under(entry, "title") or body
    url = link_of(entry, feed)
    if not title and not url:
        return None
    key = f"{plain_url(url)} {plain_title(title)}" if url else f"{text_under(entry, 'guid', 'id')} {plain_title(title)}"
    source = {
        "name": text_under(feed, "title") or "feed", "kind": "news", "url": url, "title": title,
        "external_id": text_under(entry, "guid", "id"), "excerpt": excerpt_of(body),
    }  # fmt: skip
    item: dict[str, Any] = {"id": sha256(key.encode()).hexdigest()[:32], "title": title[:TEXT_CHARS_MAX]}
    when = text_under(entry, "pubdate", "published", "date", "updated", "issued", "modified")
    moment, zoned = moment_of(when) if when else (None, True)
    if moment is not None:
        source["published_at"] = moment
    if when and not (moment and zoned):
        item["extras"] = {"published": when[:64], "read_as": "UTC" if moment else "unknown"}
    item["source"] = {name: value[:TEXT_CHARS_MAX] for name, value in source.items() if value}
    return item | _labels(entry, feed, f"{title} {body}")


def _labels(entry: Element, feed: Element, text: str) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    categories = [
        each.get("term") or words_of("".join(each.itertext())) for each in under(entry, "category", "subject")
    ]
    tags = list(dict.fromkeys(tag[:64] for tag in categories if tag))[:TAGS_MAX]
    if tags:
        labels["tags"] = tags
    labels |= of_instruments(instruments_in(text))
    lang = text_under(feed, "language") or feed.get("{http://www.w3.org/XML/1998/namespace}lang", "")
    return labels | ({"lang": lang[:16].lower()} if lang else {})


def instruments_in(text: str) -> list[dict[str, str]]:
    """The tickers that a text names with their exchange, as press releases do: `(NASDAQ: ACME)`.

    One that stands alone is not taken: foreign tickers and words look the same.
    """
    found: dict[tuple[str, str], None] = {}
    for each in _TICKER.finditer(text):
        venue = _VENUE.match(each[0])
        assert venue is not None
        found[each[1].upper().rstrip("."), venue[1].upper()] = None
    return [{"symbol": symbol, "venue": venue} for symbol, venue in list(found)[:TAGS_MAX]]

"""What all news have in common, wherever they are listed: entries, their addresses, and how much is kept of a text.

Owns: those, and the bounds of an item. What one source says of an entry is its adapter's.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin
from xml.etree.ElementTree import Element

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.ingest.markup import under

EXCERPT_CHARS = 280
ENTRIES_MAX = 1000
TAGS_MAX = 20


def entries_of(root: Element, feed: Element) -> list[Element]:
    """The entries of a feed, which stand in its channel, or beside it as RDF has them.

    Raises:
        InvalidDraft: there are more than 1,000.
    """
    found = [*under(feed, "item", "entry"), *(under(root, "item", "entry") if root is not feed else ())]
    if len(found) > ENTRIES_MAX:
        raise InvalidDraft(f"a feed may have {ENTRIES_MAX} entries", field="feed", got=len(found), allowed=ENTRIES_MAX)
    return found


def link_of(entry: Element, feed: Element) -> str:
    """The address of an entry, whole: Atom's alternate link, RSS' link, or a guid that is one; empty if it has none."""
    url = _linked(entry)
    if not url:
        written = (_address(guid) for guid in under(entry, "guid", "id"))
        url = next((each for each in written if each.startswith(("http://", "https://"))), "")
    try:
        whole = urljoin(_linked(feed), url) if url else ""
    except ValueError:
        return ""
    return whole if whole.startswith(("http://", "https://")) else ""


def _linked(element: Element) -> str:
    best = sorted(under(element, "link"), key=lambda link: link.get("rel", "alternate") != "alternate")
    return next((found for link in best if (found := _address(link))), "")


def _address(element: Element) -> str:
    """An address as it is written in an element; in CDATA `&` is often written as it would be outside."""
    written = element.get("href") or "".join(element.itertext())
    return "".join(written.replace("&amp;", "&").split())


def of_instruments(found: list[dict[str, str]]) -> dict[str, Any]:
    """What an item says of what it is about: `instrument`, which filters look at, is there when it is one alone."""
    if not found:
        return {}
    return {"instrument": found[0]} if len(found) == 1 else {"instruments": found}


def excerpt_of(text: str) -> str:
    """The beginning of a text, at most 280 characters, cut between words: the article itself is somebody's property."""
    if len(text) <= EXCERPT_CHARS:
        return text
    return text[: EXCERPT_CHARS - 1].rpartition(" ")[0].rstrip(",;:.") + "…"

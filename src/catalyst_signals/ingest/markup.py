"""XML and HTML as agencies send them: decoded, parsed without anything it could be made to do, and read as text.

Owns: encodings, entities, dates. Knows nothing of feeds. Law: time and memory grow with the body and with nothing in
it: a document that declares entities of its own is refused.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.events import iso

BYTES_MAX = 4 << 20
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_HEAD = re.compile(r"^\s*<\?xml[^>]{0,200}\?>")
_DOCTYPE = re.compile(r"<!DOCTYPE[^<>\[]{0,1000}(\[)?", re.IGNORECASE)
_NAMED = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_BARE = re.compile(r"&(?!#[0-9]{1,7};|#[xX][0-9A-Fa-f]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};)")
_XML = frozenset(("amp", "lt", "gt", "quot", "apos"))
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,2000}>")
_UNSEEN = re.compile(r"<(?:script\b|style\b|!--)", re.IGNORECASE)
_ENDS = {"<script": "</script>", "<style": "</style>", "<!--": "-->"}
_BREAK = re.compile(r"</?(?:p|br|div|li|tr|td|h[1-6])\b[^<>]{0,200}>", re.IGNORECASE)


def decoded(raw: bytes) -> str:
    """The body as text, by its byte order mark, by what it declares, or as UTF-8.

    Raises:
        InvalidDraft: it is empty, too large, or not in the encoding it says.
    """
    if len(raw) > BYTES_MAX:
        raise InvalidDraft("the body is larger than 4 MiB", got=len(raw), allowed=BYTES_MAX)
    if not raw.strip():
        raise InvalidDraft("the body is empty")
    found = _DECLARED.match(raw.removeprefix(b"\xef\xbb\xbf"))
    encoding = found[1].decode() if found else "utf-8"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif raw.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8"
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except (LookupError, UnicodeError):
        raise InvalidDraft(f"the body is not in the encoding it says, {encoding}", field="encoding") from None


def parsed(text: str) -> ElementTree.Element:
    """The root of an XML document; what agencies often get wrong (bare `&`, HTML's entities) is read as it was meant.

    Raises:
        InvalidDraft: it is not XML, says where; or it declares entities, which nobody's feed needs.
    """
    doctype = _DOCTYPE.search(text)
    if (doctype is not None and doctype[1]) or "<!ENTITY" in text:
        raise InvalidDraft("a document that declares entities of its own is not read", got="<!DOCTYPE ... [")
    text = _BARE.sub("&amp;", _NAMED.sub(_as_character, _NOT_XML.sub("", _HEAD.sub("", text)))).strip()
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as fault:
        line, column = fault.position
        raise InvalidDraft(f"the body is not XML: {fault}", line=line, column=column + 1) from None
    except (RecursionError, ValueError) as fault:
        raise InvalidDraft(f"the body is not XML: {fault}") from None


def _as_character(found: re.Match[str]) -> str:
    return found[0] if found[1] in _XML else html.unescape(found[0])


def local(element: ElementTree.Element) -> str:
    """An element's name without its namespace, in small letters."""
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""


def under(element: ElementTree.Element, *names: str) -> Iterator[ElementTree.Element]:
    """Its children of these names, in the order of the names."""
    for name in names:
        yield from (child for child in element if local(child) == name)


def text_under(element: ElementTree.Element, *names: str) -> str:
    """The words of its first child of these names that has any."""
    return next((words for child in under(element, *names) if (words := words_of("".join(child.itertext())))), "")


def words_of(markup: str) -> str:
    """HTML as its words on one line."""
    text = html.unescape(markup)
    if "<" in text:
        text = html.unescape(_TAG.sub("", _BREAK.sub(" ", _seen(text))))
    return " ".join(text.split())


def as_lines(markup: str) -> list[str]:
    """The words of HTML or plain text line by line, without empty lines."""
    lines = html.unescape(_TAG.sub("", _BREAK.sub("\n", markup))).splitlines()
    return [words for line in lines if (words := " ".join(line.split()))]


def _seen(text: str) -> str:
    """The markup without its scripts, styles and comments, in one pass."""
    pieces, at, low = [], 0, text.lower()
    open_ended: set[str] = set()  # Kinds whose end stands nowhere further on: not looked for again.
    for found in _UNSEEN.finditer(text):
        kind = found[0].lower()
        if found.start() < at or kind in open_ended:
            continue
        end = low.find(_ENDS[kind], found.end())
        if end < 0:
            open_ended.add(kind)
            continue
        pieces.append(text[at : found.start()])
        at = end + len(_ENDS[kind])
    return " ".join([*pieces, text[at:]])


def moment_of(text: str) -> tuple[str | None, bool]:
    """A date of a feed as a time of ours, and whether it named its zone; without one it is taken for UTC.

    RFC 822 as RSS has it, RFC 3339 as Atom has it, both also without seconds.
    """
    text = text.strip()
    moment: datetime | None = None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
            break
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    if moment is None or not 1970 < moment.year < 9999:
        return None, False
    zoned = moment.tzinfo is not None
    try:
        return iso(int((moment if zoned else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)), zoned
    except (ValueError, OverflowError):
        return None, False

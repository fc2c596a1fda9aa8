"""The text of one filing: a whole submission with its header, its header alone, or the main document of an 8-K.

Owns: where these say form, number, filers, items, times and symbols. Law: a header is believed before the words of the
document; an item that a document only mentions (of another filing) is none of its own where its headings can be told.
"""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from catalyst_signals.errors import InvalidDraft
from catalyst_signals.events import iso
from catalyst_signals.ingest.edgar_forms import HEADS_8K, Filer, filing
from catalyst_signals.ingest.entries import excerpt_of
from catalyst_signals.ingest.markup import as_lines, words_of
from catalyst_signals.stories import accession_in

TEXT_CHARS = 2 << 20  # What comes after are exhibits and pictures.
HEADER_CHARS = 64 << 10
FILERS_MAX = 20
_SECTION = re.compile(r"^(FILER|ISSUER|SUBJECT COMPANY|REPORTING-OWNER|FILED BY|FILED FOR):[ \t]*\r?$", re.MULTILINE)
_ROLES = {"FILER": "Filer", "ISSUER": "Issuer", "SUBJECT COMPANY": "Subject"}
_SAID = {
    "form": re.compile(
        r"^[ \t]*(?:CONFORMED SUBMISSION TYPE:|<CONFORMED-SUBMISSION-TYPE>|<TYPE>)[ \t]*(\S[^\r\n<]{0,30})",
        re.MULTILINE,
    ),
    "accepted": re.compile(r"<ACCEPTANCE-DATETIME>[ \t]*(\d{14})"),
    "accession": re.compile(r"(?:ACCESSION NUMBER:|<ACCESSION-NUMBER>|<SEC-DOCUMENT>)[ \t]*(\d{10}-\d\d-\d{6})"),
    "filed": re.compile(r"(?:FILED AS OF DATE:|<FILING-DATE>)[ \t]*(\d{8})"),
    "name": re.compile(r"(?:COMPANY CONFORMED NAME:|CONFORMED NAME:|<CONFORMED-NAME>)[ \t]*(\S[^\r\n<]{0,150})"),
    "cik": re.compile(r"(?:CENTRAL INDEX KEY:|<CIK>|<CENTRAL-INDEX-KEY>)[ \t]*(\d{1,10})"),
}
_HEADED = re.compile(r"(?:^[ \t]*ITEM INFORMATION:[ \t]*|^[ \t]*<ITEMS>[ \t]*)(\S[^\r\n<]{0,200})", re.MULTILINE)
_NUMBER = re.compile(r"\d\.\d\d")
_ITEM = re.compile(r"\bitem\s{1,8}([1-9]\.0\d)(?!\d)[\s.:—–-]{0,12}", re.IGNORECASE)
_FORM_8K = re.compile(r"form\s{1,8}8-?k\b(/a)?", re.IGNORECASE)
_NAMED = re.compile(r"\(?\s{0,8}exact\s{1,8}name\s{1,8}of\s{1,8}registrant", re.IGNORECASE)
_SYMBOL = re.compile(
    r"<issuerTradingSymbol>\s{0,20}([A-Za-z][A-Za-z.-]{0,9})\s{0,20}<"
    r"|name=\"dei:TradingSymbol\"[^>]{0,400}>\s{0,20}(?:<[^>]{0,200}>\s{0,20}){0,4}([A-Za-z][A-Za-z.-]{0,9})\s{0,20}<"
)
_EASTERN = ZoneInfo("America/New_York")


def filing_in(text: str) -> dict[str, Any]:
    """The filing whose text this is, as an item.

    Raises:
        InvalidDraft: nothing in it says which form it is.
    """
    text = text[:TEXT_CHARS]
    head = text[: max(0, text.find("</SEC-HEADER>", 0, HEADER_CHARS))] or text[:HEADER_CHARS]
    words = words_of(text)
    said = {name: found[1].strip() for name, pattern in _SAID.items() if (found := pattern.search(head))}
    form = said.get("form", "") or _form_of(words)
    if not form:
        raise InvalidDraft(
            "this is neither a feed of EDGAR nor the text of a filing: there is no form type and no item of an 8-K",
            field="form", got=words[:80], allowed="an Atom feed, a submission's text, or an 8-K",
        )  # fmt: skip
    symbols = sorted({(found[1] or found[2]).upper() for found in _SYMBOL.finditer(text)} - {"NONE", "N/A", "NA"})
    return filing(
        accession=said.get("accession", "") or accession_in(text[:2000]) or "", form=form,
        key=sha256(words.encode()).hexdigest()[:32],
        filers=_filers(head) or _named_in(text), numbers=_numbers(head, words) if form.startswith("8-K") else [],
        published=_accepted(said.get("accepted", "")), filed=_day(said.get("filed", "")),
        excerpt=_excerpt(words) if form.startswith("8-K") else "", symbols=symbols,
    )  # fmt: skip


def _form_of(words: str) -> str:
    """`8-K` where a document without a header says that it is one."""
    found = _FORM_8K.search(words[:8000]) if _ITEM.search(words) else None
    return "" if found is None else "8-K/A" if found[1] else "8-K"


def _filers(head: str) -> list[Filer]:
    """Those of the header's sections, each with its role; without sections, the one that it names."""
    places = list(_SECTION.finditer(head))
    if not places:
        found = _filer(head, "")
        return [found] if found.cik or found.name else []
    ends = [*(place.start() for place in places[1:]), len(head)]
    every = [
        _filer(head[place.end() : end], _ROLES.get(place[1], "Reporting"))
        for place, end in zip(places, ends, strict=True)
    ]
    return list({filer.cik: filer for filer in every if filer.cik}.values())[:FILERS_MAX]


def _filer(section: str, role: str) -> Filer:
    name, cik = _SAID["name"].search(section), _SAID["cik"].search(section)
    return Filer(cik[1].zfill(10) if cik else "", name[1].strip() if name else "", role)


def _named_in(text: str) -> list[Filer]:
    """The name that an 8-K has before the words `Exact name of registrant`."""
    found = _NAMED.search(text)
    before = as_lines(text[max(0, found.start() - 3000) : found.start()]) if found else []
    name = next((line for line in reversed(before) if any(char.isalpha() for char in line)), "")
    return [Filer("", name[:150])] if name else []


def _numbers(head: str, words: str) -> list[str]:
    """The items of an 8-K: of its header; else those under the SEC's own headings; else all that are mentioned."""
    headed = [found[1].strip() for found in _HEADED.finditer(head)]
    numbers = [number for text in headed for number in _NUMBER.findall(text)]
    numbers += [number for text in headed for number, start in HEADS_8K.items() if text.lower().startswith(start)]
    if numbers:
        return numbers
    mentioned = list(_ITEM.finditer(words))
    under_head = [found[1] for found in mentioned if _is_head(words, found)]
    return under_head or [found[1] for found in mentioned]


def _is_head(words: str, found: re.Match[str]) -> bool:
    start = HEADS_8K.get(found[1], "\0")
    return words[found.end() : found.end() + len(start)].lower().replace("‑", "-") == start


def _excerpt(words: str) -> str:
    """From the first heading of an item on."""
    every = list(_ITEM.finditer(words))
    first = next((found for found in every if _is_head(words, found)), every[0] if every else None)
    return excerpt_of(words[first.start() : first.start() + 2000]) if first else ""


def _accepted(digits: str) -> str:
    """When EDGAR accepted it; its clock is New York's, and says so nowhere in the text."""
    try:
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=_EASTERN)
        return iso(int(moment.timestamp() * 1_000_000))
    except (ValueError, OverflowError):
        return ""


def _day(digits: str) -> str:
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if digits else ""
